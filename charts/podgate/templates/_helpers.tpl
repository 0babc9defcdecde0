{{/* Names. */}}
{{- define "podgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- define "podgate.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "podgate.name" .) .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "podgate.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- define "podgate.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}
{{- define "podgate.account" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "podgate.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}
{{- define "podgate.selector" -}}
app.kubernetes.io/name: {{ include "podgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "podgate.labels" -}}
{{ include "podgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- define "podgate.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* Whether a port of the node is held, which two pods cannot share; empty when not. */}}
{{- define "podgate.held" -}}
{{- $held := .Values.hostNetwork }}
{{- range .Values.ports }}{{ if and .enabled .hostPort }}{{ $held = true }}{{ end }}{{ end }}
{{- if $held }}held{{ end }}
{{- end }}

{{/* The configuration: the mode's own with the tier's and then `config` over it, or `alternateConfig`. */}}
{{- define "podgate.config" -}}
{{- if .Values.alternateConfig }}{{ toYaml .Values.alternateConfig }}
{{- else }}
{{- $file := dict "daemonset" "node" "deployment" "cluster" "statefulset" "cluster" "sidecar" "sidecar" }}
{{- $own := .Files.Get (printf "config/%s.yaml" (get $file .Values.mode)) | fromYaml }}
{{- $own = mustMergeOverwrite $own (include "podgate.presets" . | fromYaml) }}
{{- $own = mustMergeOverwrite $own (include "podgate.tierConfig" . | fromYaml) }}
{{- $over := deepCopy .Values.config }}
{{- include "podgate.takenAway" (dict "own" $own "over" $over) }}
{{- toYaml (mustMergeOverwrite $own $over) }}
{{- end }}
{{- end }}

{{/* Takes out of `own` what `over` has a null for, and the null. A null for what `own` does not have is a component with its defaults. */}}
{{- define "podgate.takenAway" -}}
{{- range $key, $value := .over }}
{{- if hasKey $.own $key }}
{{- $there := get $.own $key }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $.own $key }}{{ $_ := unset $.over $key }}
{{- else if and (kindIs "map" $value) (kindIs "map" $there) }}{{ include "podgate.takenAway" (dict "own" $there "over" $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the k8s_attributes processors of the pipelines read, as `podgate rbac` says it. */}}
{{- define "podgate.rules" -}}
{{- $config := include "podgate.config" . | fromYaml }}
{{- $used := dict }}
{{- range $name, $pipeline := default dict (dig "service" "pipelines" dict $config) }}
{{- range default list ($pipeline | default dict).processors }}{{ $_ := set $used . true }}{{ end }}
{{- end }}
{{- $reads := dict }}
{{- range $id, $body := default dict $config.processors }}
{{- $type := first (splitList "/" $id) }}
{{- $body := default dict $body }}
{{- if and (hasKey $used $id) (has $type (list "k8s_attributes" "k8sattributes")) (not $body.passthrough) }}
{{- $_ := set $reads "pods" true }}
{{- $extract := default dict $body.extract }}
{{- $metadata := default list $extract.metadata }}
{{- range concat (default list $extract.labels) (default list $extract.annotations) }}
{{- $from := default "pod" .from }}
{{- if ne $from "pod" }}{{ $_ := set $reads (printf "%ss" $from) true }}{{ end }}
{{- end }}
{{- if has "k8s.cluster.uid" $metadata }}{{ $_ := set $reads "namespaces" true }}{{ end }}
{{- if has "k8s.node.uid" $metadata }}{{ $_ := set $reads "nodes" true }}{{ end }}
{{- if or (has "k8s.deployment.uid" $metadata) (hasKey $reads "deployments") }}{{ $_ := set $reads "replicasets" true }}{{ end }}
{{- if or (has "k8s.cronjob.uid" $metadata) (hasKey $reads "cronjobs") }}{{ $_ := set $reads "jobs" true }}{{ end }}
{{- end }}
{{- end }}
{{- $group := dict "pods" "" "namespaces" "" "nodes" "" "replicasets" "apps" "deployments" "apps" "daemonsets" "apps" "statefulsets" "apps" "jobs" "batch" "cronjobs" "batch" }}
{{- range $resource := keys $reads | sortAlpha }}
- apiGroups: [{{ get $group $resource | quote }}]
  resources: [{{ $resource }}]
  verbs: [{{ ternary "get, list, watch" "get, list" (eq $resource "pods") }}]
{{- end }}
{{- end }}

{{/* Namespaces of the services whose endpoints load_balancing exporters of the pipelines watch, a line for each. */}}
{{- define "podgate.endpoints" -}}
{{- $config := include "podgate.config" . | fromYaml }}
{{- $home := include "podgate.namespace" . }}
{{- $used := dict }}
{{- range $name, $pipeline := default dict (dig "service" "pipelines" dict $config) }}
{{- range default list ($pipeline | default dict).exporters }}{{ $_ := set $used . true }}{{ end }}
{{- end }}
{{- $namespaces := dict }}
{{- range $id, $body := default dict $config.exporters }}
{{- if and (hasKey $used $id) (has (first (splitList "/" $id)) (list "load_balancing" "loadbalancing")) }}
{{- $service := dig "resolver" "k8s" "service" "" (default dict $body) }}
{{- if $service }}
{{- $parts := splitList "." $service }}
{{- $_ := set $namespaces (ternary (index $parts (min 1 (sub (len $parts) 1) | int)) $home (gt (len $parts) 1)) true }}
{{- end }}
{{- end }}
{{- end }}
{{- keys $namespaces | sortAlpha | join "\n" }}
{{- end }}
