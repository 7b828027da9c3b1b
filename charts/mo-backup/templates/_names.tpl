{{/* The operator's ServiceAccount, Deployment, Roles. */}}
{{- define "mo-backup.operator" -}}
mo-backup-operator
{{- end }}

{{/* The ServiceAccount of Jobs and the ClusterRole it is bound to, by name in the program. */}}
{{- define "mo-backup.worker" -}}
mo-backup-worker
{{- end }}

{{/* The ServiceAccount of Jobs that deal with imported Backups, and its ClusterRole, by name in the program. */}}
{{- define "mo-backup.catalog" -}}
mo-backup-catalog
{{- end }}

{{/* The image of the operator and of its Jobs; the policy compares with the same text. */}}
{{- define "mo-backup.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "mo-backup.selector" -}}
app.kubernetes.io/name: mo-backup
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "mo-backup.labels" -}}
{{ include "mo-backup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What the operator may do in a namespace it works for. It reads no Secret and writes no spec. */}}
{{- define "mo-backup.rules" -}}
- apiGroups: [mo-backup.io]
  resources: [backups]
  verbs: [get, list, watch, patch] # patch: finalizers
- apiGroups: [mo-backup.io]
  resources: [backupstorages, restores]
  verbs: [get, list, watch]
- apiGroups: [mo-backup.io]
  resources: [backups/status, backupstorages/status, restores/status]
  verbs: [patch]
- apiGroups: [mo-backup.io]
  resources: [backups/finalizers, backupstorages/finalizers, restores/finalizers]
  verbs: [update] # owner references that block deletion
- apiGroups: [core.matrixorigin.io]
  resources: [matrixoneclusters]
  verbs: [get] # the address in its status
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch] # the boot files of a Restore
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [{{ include "mo-backup.worker" . }}, {{ include "mo-backup.catalog" . }}]
  verbs: [bind]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
