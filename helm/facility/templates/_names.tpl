{{- /* Names and labels that several templates use. */}}

{{- define "facility.labels" -}}
app.kubernetes.io/name: facility
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Name, tag and digest of an image, as JSON, from (list IMAGE OURS CONTEXT): OURS is what the
facility's own is called below images.registry. The name is empty where nothing says where it lies. */}}
{{- define "facility.imageParts" -}}
{{- $image := default dict (index . 0) -}}
{{- $found := dict -}}
{{- if kindIs "string" $image -}}
{{- $halves := splitn "@" 2 $image -}}
{{- $tag := regexFind ":[^:/]*$" $halves._0 -}}
{{- $found = dict "name" (trimSuffix $tag $halves._0) "tag" (trimPrefix ":" $tag) "digest" $halves._1 -}}
{{- else -}}
{{- $found = pick $image "name" "tag" "digest" -}}
{{- end -}}
{{- $registry := (index . 2).Values.images.registry -}}
{{- if and (index . 1) $registry (not $found.name) -}}
{{- $_ := set $found "name" (printf "%s/%s" $registry (index . 1)) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- /* Image as Kubernetes takes it, from the same. */}}
{{- define "facility.image" -}}
{{- $image := fromJson (include "facility.imageParts" .) -}}
{{- if $image.digest -}}
{{ $image.name }}@{{ $image.digest }}
{{- else -}}
{{ $image.name }}:{{ default (index . 2).Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- define "facility.imageName" -}}
{{ default "" (fromJson (include "facility.imageParts" .)).name }}
{{- end }}

{{- define "facility.pullPolicy" -}}
{{- if kindIs "map" . -}}
{{ default "IfNotPresent" .pullPolicy }}
{{- else -}}
IfNotPresent
{{- end -}}
{{- end }}

{{- /* Host name of the hub, each of whose users has a name below it; nothing where all are at one. */}}
{{- define "facility.domain" -}}
{{ regexReplaceAll ":[0-9]+$" (default "" .Values.hub.domain) "" }}
{{- end }}

{{- define "facility.secret" -}}
{{ default "hub-secrets" .Values.hub.existingSecret }}
{{- end }}

{{- define "facility.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the hub is told; of batch where there is any, so that without it no pod changes. */}}
{{- define "facility.values" -}}
{{- ternary (omit .Values "global") (omit .Values "global" "batch") .Values.batch.enabled | toYaml -}}
{{- end }}

{{- /* Nodes, from a section of the values. */}}
{{- define "facility.placed" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "facility.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "facility.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "facility.resources" -}}
{{- range $kind, $amounts := . }}
{{- $given := dict }}
{{- range $key, $amount := $amounts }}
{{- if $amount }}
{{- $_ := set $given $key (toString $amount) }}
{{- end }}
{{- end }}
{{- with $given }}
{{ $kind }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Rules of egress to cluster DNS. */}}
{{- define "facility.toDns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Values.networkPolicy.dns.namespace }}
      podSelector:
        matchLabels: {{- toYaml .Values.networkPolicy.dns.labels | nindent 10 }}
  ports:
    - {protocol: UDP, port: {{ .Values.networkPolicy.dns.port }}}
    - {protocol: TCP, port: {{ .Values.networkPolicy.dns.port }}}
{{- end }}

{{- /* Rules of egress to addresses of the site, from a list of them. */}}
{{- define "facility.toAddresses" -}}
{{- range . }}
- to:
    - ipBlock: {cidr: {{ .cidr }}}
  {{- with .ports }}
  ports:
    {{- range . }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Rules of egress to the API server; nothing where Cilium knows it by itself. */}}
{{- define "facility.toApiServer" -}}
{{- if ne .Values.networkPolicy.flavor "cilium" }}
{{- with .Values.networkPolicy.apiServer }}
{{- include "facility.toAddresses" . }}
{{- else }}
- ports:
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 6443}
{{- end }}
{{- end }}
{{- end }}

{{- define "facility.toUserServers" -}}
- to:
    - namespaceSelector:
        matchLabels:
          facility/hub: {{ .Release.Name }}
      podSelector:
        matchLabels:
          app.kubernetes.io/component: user-server
  ports:
    - {protocol: TCP, port: 8888}
{{- end }}

{{- /* Annotations of what is there for the time before an installation or an upgrade. */}}
{{- define "facility.beforehand" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
