{{/* The name of every object: the release's, where that says what it is. */}}
{{- define "tidegate.name" -}}
{{- if contains "tidegate" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-tidegate" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.namespace" -}}
{{- .Values.namespace.name | default .Release.Namespace -}}
{{- end -}}

{{/* What pods are found by. */}}
{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.metricsPort" -}}
{{- $address := .Values.configuration.metrics.address -}}
{{- regexFind "[0-9]+$" $address | required "configuration.metrics.address needs a port" -}}
{{- end -}}

{{/* A probe: the pod is asked itself, and not whoever has the admin address of the node. */}}
{{- define "tidegate.probe" -}}
exec:
  command: [/usr/local/bin/tidegate, probe, {{ .what }}, --socket=/run/tidegate/pod/probe.sock]
{{- with .timings }}
{{ toYaml . }}
{{- end }}
{{- end -}}
