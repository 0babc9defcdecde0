{{/* Parts of the configuration that one value turns on, merged over the mode's own. */}}
{{- define "podgate.presets" -}}
{{- if .Values.presets.logsCollection.enabled }}{{ include "podgate.logs" . }}{{ else }}{}{{ end }}
{{- end }}

{{/* The containers' files of a node; the pod's own pipeline, beside that of OTLP. */}}
{{- define "podgate.logs" -}}
{{- $logs := .Values.presets.logsCollection }}
{{- if ne .Values.mode "daemonset" }}{{ fail "presets.logsCollection reads the files of a node: it wants mode daemonset" }}{{ end }}
receivers:
  file_log:
    include: [/var/log/pods/*/*/*.log]
    {{- if $logs.includeCollectorLogs }}
    exclude: []
    {{- else }}
    # Its own lines would never end.
    exclude: ["/var/log/pods/{{ include "podgate.namespace" . }}_{{ include "podgate.fullname" . }}-*_*/podgate/*.log"]
    {{- end }}
    start_at: end
    {{- if $logs.storeCheckpoints }}
    storage: file_storage
    {{- end }}
    operators:
      - {type: container, max_log_size: {{ $logs.maxRecombineLogSize | int }}}
{{- if $logs.storeCheckpoints }}
extensions:
  file_storage:
    directory: /var/lib/podgate/log
    create_directory: true
    podgate: {max_bytes: 2GiB}
exporters:
  otlp_grpc:
    sending_queue: {storage: file_storage}
    retry_on_failure: {max_elapsed_time: 0s}
{{- end }}
processors:
  k8s_attributes/files:
    auth_type: serviceAccount
    filter: {node_from_env_var: OTEL_K8S_NODE_NAME}
    extract:
      metadata: [k8s.pod.start_time, k8s.node.name, k8s.deployment.name, container.image.name, container.image.tag]
      {{- if .Values.presets.annotationDiscovery.logs.enabled }}
      annotations:
        - {tag_name: discovery.logs, key: io.opentelemetry.discovery.logs/enabled, from: pod}
        - {tag_name: discovery.logs.$1, key_regex: 'io\.opentelemetry\.discovery\.logs\.([^/]+)/enabled', from: pod}
      {{- end }}
    pod_association:
      - sources: [{from: resource_attribute, name: k8s.pod.uid}]
  {{- if .Values.presets.annotationDiscovery.logs.enabled }}
  {{- $own := "resource.attributes[Concat([\"discovery.logs\", resource.attributes[\"k8s.container.name\"]], \".\")]" }}
  {{- $pod := "resource.attributes[\"discovery.logs\"]" }}
  # What a container's own annotation says goes before what the pod's says.
  filter/discovery:
    error_mode: ignore
    logs:
      log_record:
        - {{ printf "%s != nil and %s != \"true\"" $own $own | quote }}
        {{- if .Values.presets.annotationDiscovery.logs.optIn }}
        - {{ printf "%s == nil and (%s == nil or %s != \"true\")" $own $pod $pod | quote }}
        {{- else }}
        - {{ printf "%s == nil and %s != nil and %s != \"true\"" $own $pod $pod | quote }}
        {{- end }}
  transform/discovery:
    error_mode: ignore
    log_statements:
      - context: resource
        statements: ['delete_matching_keys(attributes, "^discovery[.]logs")']
  {{- end }}
service:
  {{- if $logs.storeCheckpoints }}
  extensions: [file_storage, health_check]
  {{- end }}
  pipelines:
    logs/files:
      receivers: [file_log]
      processors: [memory_limiter, k8s_attributes/files{{ if .Values.presets.annotationDiscovery.logs.enabled }}, filter/discovery, transform/discovery{{ end }}]
      exporters: [otlp_grpc]
{{- end }}

{{/* Runtimes write these files as root's, 0640: root without any capability reads them. */}}
{{- define "podgate.podSecurity" -}}
{{- $own := deepCopy .Values.podSecurityContext }}
{{- if .Values.presets.logsCollection.enabled }}{{ $own = mustMergeOverwrite $own (dict "runAsNonRoot" false "runAsUser" 0 "runAsGroup" 0) }}{{ end }}
{{- toYaml $own }}
{{- end }}

{{- define "podgate.presetInit" -}}
{{- $logs := .Values.presets.logsCollection }}
{{- if and $logs.enabled $logs.storeCheckpoints }}
- name: folder
  image: {{ include "podgate.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [wal, prepare, /var/lib/podgate, "--owner=0:0"]
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL], add: [CHOWN]}
  volumeMounts:
    - {name: log, mountPath: /var/lib/podgate}
{{- end }}
{{- end }}

{{- define "podgate.presetMounts" -}}
{{- $logs := .Values.presets.logsCollection }}
{{- if $logs.enabled }}
- {name: pod-logs, mountPath: /var/log/pods, readOnly: true}
- {name: container-logs, mountPath: /var/log/containers, readOnly: true}
{{- if $logs.storeCheckpoints }}
- {name: log, mountPath: /var/lib/podgate}
{{- end }}
{{- end }}
{{- end }}

{{- define "podgate.presetVolumes" -}}
{{- $logs := .Values.presets.logsCollection }}
{{- if $logs.enabled }}
- name: pod-logs
  hostPath: {path: /var/log/pods, type: Directory}
- name: container-logs
  hostPath: {path: /var/log/containers, type: Directory}
{{- if $logs.storeCheckpoints }}
- name: log
  hostPath: {path: /var/lib/podgate, type: DirectoryOrCreate}
{{- end }}
{{- end }}
{{- end }}
