{{/* What a container of podgate is, in every mode. */}}
{{- define "podgate.container" -}}
name: podgate
image: {{ include "podgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.command.name }}
command: [{{ printf "/%s" . | quote }}]
{{- end }}
args:
  - --config=/conf/relay.yaml
  {{- range .Values.command.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  - {name: MY_POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: OTEL_K8S_NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - {name: OTEL_K8S_NODE_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
  {{- if eq .Values.mode "sidecar" }}
  - {name: OTEL_K8S_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: OTEL_K8S_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: OTEL_K8S_POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
  {{- end }}
  {{- with .Values.extraEnvs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvsFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- range $name, $port := .Values.ports }}
  {{- if $port.enabled }}
  - name: {{ $name }}
    containerPort: {{ $port.containerPort }}
    protocol: {{ $port.protocol }}
    {{- if and $port.hostPort (eq $.Values.mode "daemonset") }}
    hostPort: {{ $port.hostPort }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- $health := include "podgate.health" . | fromYaml }}
  - name: health
    containerPort: {{ $health.port }}
    protocol: TCP
{{- if eq .Values.mode "sidecar" }}
startupProbe:
  {{- $own := pick .Values.readinessProbe "httpGet" "exec" "tcpSocket" "grpc" }}
  {{- include "podgate.probe" (dict "path" "/readyz" "health" $health "own" $own) | nindent 2 }}
  periodSeconds: 1
  failureThreshold: 60
{{- end }}
livenessProbe:
  {{- include "podgate.probe" (dict "path" "/livez" "health" $health "own" .Values.livenessProbe) | nindent 2 }}
readinessProbe:
  {{- include "podgate.probe" (dict "path" "/readyz" "health" $health "own" .Values.readinessProbe) | nindent 2 }}
{{- if .Values.lifecycleHooks }}
lifecycle:
  {{- toYaml .Values.lifecycleHooks | nindent 2 }}
{{- else if not (or (eq .Values.mode "sidecar") (include "podgate.held" .) (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version)) }}
lifecycle:
  preStop: {sleep: {seconds: {{ ternary 10 5 (eq (include "podgate.tier" .) "gateway") }}}}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: podgate-conf, mountPath: /conf, readOnly: true}
  {{- with include "podgate.presetMounts" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Where the probes ask, by the configuration: `port`, `scheme`, and in `fault` why nobody would answer them. A configuration of another
ConfigMap is not read; a port that a variable brings is 13133. */}}
{{- define "podgate.health" -}}
{{- $config := dict }}
{{- if not .Values.configMap.existingName }}{{ $config = include "podgate.config" . | fromYaml }}{{ end }}
{{- $port := 13133 }}
{{- $scheme := "HTTP" }}
{{- $fault := "" }}
{{- if $config }}
{{- $fault = "the configuration's `service.extensions` has no `health_check`" }}
{{- range $id := reverse (default list (dig "service" "extensions" list (dict "service" ($config.service | default dict)))) }}
{{- if eq (first (splitList "/" $id)) "health_check" }}
{{- $body := default dict (get ($config.extensions | default dict) $id) }}
{{- $endpoint := toString (default "localhost:13133" $body.endpoint) }}
{{- $read := regexFind ":[0-9]+$" $endpoint | trimPrefix ":" }}
{{- $port = ternary (int $read) 13133 (ne $read "") }}
{{- $scheme = ternary "HTTPS" "HTTP" (not (empty $body.tls)) }}
{{- $fault = "" }}
{{- if regexMatch "^(localhost|127\\.[0-9.]+|\\[::1\\]):" $endpoint }}
{{- $fault = printf "`%s` listens on %s, which nobody outside of the pod reaches" $id $endpoint }}
{{- else if dig "client_ca_file" "" (default dict $body.tls) }}
{{- $fault = printf "`%s` asks for client certificates, which a kubelet does not have" $id }}
{{- else if $body.auth }}
{{- $fault = printf "`%s` has `auth`, and nothing says what a probe brings" $id }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml (dict "port" $port "scheme" $scheme "fault" $fault) }}
{{- end }}

{{/* A probe with the values' keys over its own; a way of asking of theirs takes the place of the page. */}}
{{- define "podgate.probe" -}}
{{- if not (pick .own "httpGet" "exec" "tcpSocket" "grpc") }}
{{- with .health.fault }}
{{- $cure := "Give it one with `endpoint: ${env:MY_POD_IP}:13133`, or say how to ask in `livenessProbe` and `readinessProbe`" }}
{{- fail (printf "the probes cannot succeed: %s. %s" . $cure) }}
{{- end }}
{{- $get := dict "path" .path "port" "health" }}
{{- if eq .health.scheme "HTTPS" }}{{ $_ := set $get "scheme" "HTTPS" }}{{ end }}
httpGet: {{ toJson $get }}
{{- end }}
{{- with .own }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "podgate.volumes" -}}
- name: podgate-conf
  configMap:
    name: {{ default (include "podgate.fullname" .) .Values.configMap.existingName }}
    items: [{key: relay, path: relay.yaml}]
{{- with include "podgate.presetVolumes" . | trim }}
{{ . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod of a daemonset, deployment or statefulset. */}}
{{- define "podgate.template" -}}
metadata:
  labels:
    {{- include "podgate.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not .Values.configMap.existingName }}
    checksum/config: {{ include "podgate.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "podgate.account" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "podgate.podSecurity" . | nindent 4 }}
  {{- $preset := include "podgate.presetInit" . | trim }}
  {{- if or $preset .Values.initContainers }}
  initContainers:
    {{- with $preset }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    -
      {{- include "podgate.container" . | nindent 6 }}
  volumes:
    {{- include "podgate.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default (ternary (list (dict "operator" "Exists")) list (eq .Values.mode "daemonset")) .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
