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

{{/* What a probe asks: the admin API on loopback; where that is a Unix socket, the scrapers' address. */}}
{{- define "tidegate.probe" -}}
{{- $admin := .root.Values.configuration.admin.address -}}
httpGet:
  path: {{ .path }}
  {{- if hasPrefix "unix:" $admin }}
  host: 127.0.0.1
  port: {{ include "tidegate.metricsPort" .root }}
  {{- else }}
  host: {{ regexReplaceAll ":[0-9]+$" $admin "" | trimAll "[]" | quote }}
  port: {{ regexFind "[0-9]+$" $admin | required "configuration.admin.address needs a port" }}
  {{- end }}
{{- with .timings }}
{{ toYaml . }}
{{- end }}
{{- end -}}
