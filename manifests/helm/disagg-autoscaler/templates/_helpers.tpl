{{- define "autoscaler.labels" -}}
app.kubernetes.io/name: disagg-autoscaler
app.kubernetes.io/part-of: disagg-autoscaler
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "autoscaler.selector" -}}
app.kubernetes.io/name: disagg-autoscaler
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Two releases in one cluster must not share cluster-wide names. */}}
{{- define "autoscaler.cluster" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- define "autoscaler.subjects" -}}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}]
{{- end }}
