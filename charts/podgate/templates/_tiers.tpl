{{/* What these pods are of `tiers`: agent, gateway, sampler, or empty. */}}
{{- define "podgate.tier" -}}
{{- $replicas := dict "balanced" "gateway" "kafka" "sampler" }}
{{- if .Values.tiers.kind }}{{ ternary "agent" (get $replicas .Values.tiers.kind) (eq .Values.mode "daemonset") }}{{ end }}
{{- end }}

{{/* The name of the second tier's objects, from the agents'; with `-headless` behind it no longer than a name may be. */}}
{{- define "podgate.second" -}}
{{- printf "%s-%s" (include "podgate.fullname" . | trunc 45 | trimSuffix "-") (ternary "gateway" "sampler" (eq .Values.tiers.kind "balanced")) }}
{{- end }}

{{/* What a tier's configuration has over its mode's: the manifests' component, and where the tiers meet. */}}
{{- define "podgate.tierConfig" -}}
{{- $tier := include "podgate.tier" . }}
{{- if $tier }}
{{- $own := .Files.Get (printf "config/%s-%ss.yaml" .Values.tiers.kind $tier) | fromYaml }}
{{- $kafka := .Values.tiers.kafka }}
{{- $meets := dict }}
{{- if and (eq $tier "agent") (eq .Values.tiers.kind "balanced") }}
{{- $name := printf "%s-headless.%s.svc" (include "podgate.second" .) (include "podgate.namespace" .) }}
{{- $meets = dict "exporters" (dict "load_balancing" (dict "resolver" (dict "dns" (dict "hostname" $name)))) }}
{{- else if eq $tier "agent" }}
{{- $meets = dict "exporters" (dict "kafka" (dict "brokers" $kafka.brokers "traces" (dict "topic" $kafka.topic))) }}
{{- else if eq $tier "sampler" }}
{{- $reads := dict "brokers" $kafka.brokers "group_id" $kafka.groupId "traces" (dict "topics" (list $kafka.topic)) }}
{{- $meets = dict "receivers" (dict "kafka" $reads) }}
{{- end }}
{{- toYaml (mustMergeOverwrite $own $meets) }}
{{- else }}{}
{{- end }}
{{- end }}
