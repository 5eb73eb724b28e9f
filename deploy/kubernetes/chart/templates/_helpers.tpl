{{- define "penstock.labels" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "penstock.release" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "penstock.account" -}}
{{- .Values.auth.existingSecret | default "basic-auth" -}}
{{- end -}}

{{/* What the gateway may do where functions are. */}}
{{- define "penstock.rules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, create, update, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
{{- if .Values.customResources.enabled }}
- apiGroups: [openfaas.com]
  resources: [functions]
  verbs: [get, list, watch]
- apiGroups: [openfaas.com]
  resources: [functions/status]
  verbs: [patch]
{{- end }}
{{- end -}}
