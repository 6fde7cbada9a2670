{{- /*
What the admission policies know of pools and shared volumes, as JSON. facility/kubernetes/tenant
makes the same; tests/chart compares them.
*/}}

{{- define "facility.poolClass" -}}
{{- default (printf "%s-pool-%s" (index . 0).Release.Name (index . 1)) (index . 2).priorityClass -}}
{{- end }}

{{- define "facility.toleration" -}}
{{- $words := list (default "" .key) (default "Equal" .operator) (default "" .value) (default "" .effect) -}}
{{- if kindIs "invalid" .tolerationSeconds -}}
{{ join " " $words }}
{{- else -}}
{{ join " " (append $words (toString .tolerationSeconds)) }}
{{- end -}}
{{- end }}

{{- define "facility.data.selectors" -}}
{{- $root := . -}}
{{- $found := dict (printf "%s-notebook" .Release.Name) .Values.singleuser.nodeSelector (printf "%s-job" .Release.Name) .Values.singleuser.nodeSelector (printf "%s-scheduler" .Release.Name) .Values.scheduler.nodeSelector -}}
{{- range $name, $pool := .Values.pools -}}
{{- $selector := deepCopy (default dict $pool.nodeSelector) -}}
{{- if $pool.architecture -}}
{{- $_ := set $selector "kubernetes.io/arch" $pool.architecture -}}
{{- end -}}
{{- $_ := set $found (include "facility.poolClass" (list $root $name $pool)) $selector -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.gpus" -}}
{{- $found := list -}}
{{- range $name, $pool := .Values.pools -}}
{{- $found = append $found (default "nvidia.com/gpu" $pool.gpuResource) -}}
{{- end -}}
{{ toRawJson ($found | uniq | sortAlpha) }}
{{- end }}

{{- define "facility.data.gpusOf" -}}
{{- $root := . -}}
{{- $found := dict (printf "%s-notebook" .Release.Name) (fromJsonArray (include "facility.data.gpus" .)) (printf "%s-job" .Release.Name) list (printf "%s-scheduler" .Release.Name) list -}}
{{- range $name, $pool := .Values.pools -}}
{{- $devices := list -}}
{{- if $pool.gpus -}}
{{- $devices = list (default "nvidia.com/gpu" $pool.gpuResource) -}}
{{- end -}}
{{- $_ := set $found (include "facility.poolClass" (list $root $name $pool)) $devices -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.tolerated" -}}
{{- $root := . -}}
{{- $devices := fromJson (include "facility.data.gpusOf" .) -}}
{{- $always := list "node.kubernetes.io/not-ready Exists  NoExecute" "node.kubernetes.io/unreachable Exists  NoExecute" "node.kubernetes.io/memory-pressure Exists  NoSchedule" -}}
{{- $servers := .Values.singleuser.tolerations -}}
{{- range $name, $profile := .Values.singleuser.profiles -}}
{{- $servers = concat $servers (default list $profile.tolerations) -}}
{{- end -}}
{{- $shapes := dict (printf "%s-notebook" .Release.Name) $servers (printf "%s-job" .Release.Name) $servers (printf "%s-scheduler" .Release.Name) .Values.scheduler.tolerations -}}
{{- range $name, $pool := .Values.pools -}}
{{- $_ := set $shapes (include "facility.poolClass" (list $root $name $pool)) (default list $pool.tolerations) -}}
{{- end -}}
{{- $found := dict -}}
{{- range $class, $tolerations := $shapes -}}
{{- $texts := $always -}}
{{- range $tolerations -}}
{{- $texts = append $texts (include "facility.toleration" .) -}}
{{- end -}}
{{- range index $devices $class -}}
{{- $texts = append $texts (printf "%s Exists  NoSchedule" .) -}}
{{- end -}}
{{- $_ := set $found $class (uniq $texts) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.runtimes" -}}
{{- $root := . -}}
{{- $every := list "" -}}
{{- $found := dict (printf "%s-job" .Release.Name) (list "") (printf "%s-scheduler" .Release.Name) (list "") -}}
{{- range $name, $pool := .Values.pools -}}
{{- $runtime := default "" $pool.runtimeClass -}}
{{- $every = append $every $runtime -}}
{{- $_ := set $found (include "facility.poolClass" (list $root $name $pool)) (list $runtime) -}}
{{- end -}}
{{- $_ := set $found (printf "%s-notebook" .Release.Name) ($every | uniq | sortAlpha) -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.permitted" -}}
{{- $found := list .Values.singleuser.image.name -}}
{{- range $name, $profile := .Values.singleuser.profiles -}}
{{- with $profile.image -}}
{{- $found = append $found .name -}}
{{- end -}}
{{- range $profile.images -}}
{{- $found = append $found .image.name -}}
{{- end -}}
{{- end -}}
{{ toRawJson (concat $found .Values.images.permitted) }}
{{- end }}

{{- define "facility.data.images" -}}
{{- $found := list -}}
{{- range $name, $pool := .Values.pools -}}
{{- with $pool.image -}}
{{- $found = append $found . -}}
{{- end -}}
{{- end -}}
{{- range fromJsonArray (include "facility.permitted" .) -}}
{{- if not (hasSuffix "/" .) -}}
{{- $found = append $found . -}}
{{- end -}}
{{- end -}}
{{ toRawJson ($found | uniq | sortAlpha) }}
{{- end }}

{{- define "facility.data.imagePrefixes" -}}
{{- $found := list -}}
{{- range fromJsonArray (include "facility.permitted" .) -}}
{{- if hasSuffix "/" . -}}
{{- $found = append $found . -}}
{{- else -}}
{{- $found = concat $found (list (printf "%s:" .) (printf "%s@" .)) -}}
{{- end -}}
{{- end -}}
{{ toRawJson ($found | uniq | sortAlpha) }}
{{- end }}

{{- /* Shared volumes of which the hub makes PersistentVolumes; nothing where there is none. */}}
{{- define "facility.templates" -}}
{{- $found := dict -}}
{{- range $name, $shared := .Values.sharedVolumes -}}
{{- if $shared.volume -}}
{{- $_ := set $found $name $shared -}}
{{- end -}}
{{- end -}}
{{- if $found -}}
{{ toRawJson $found }}
{{- end -}}
{{- end }}

{{- define "facility.readOnly" -}}
{{- if kindIs "invalid" .readOnly -}}
true
{{- else -}}
{{ .readOnly }}
{{- end -}}
{{- end }}

{{- define "facility.data.sources" -}}
{{- $found := dict -}}
{{- range $name, $shared := fromJson (include "facility.templates" .) -}}
{{- $readOnly := include "facility.readOnly" $shared -}}
{{- with $shared.volume.nfs -}}
{{- $_ := set $found $name (list "nfs" .server .path $readOnly) -}}
{{- end -}}
{{- with $shared.volume.csi -}}
{{- $stage := default dict .nodeStageSecretRef -}}
{{- $publish := default dict .nodePublishSecretRef -}}
{{- $secrets := list (printf "%s/%s" (default "" $stage.namespace) (default "" $stage.name)) (printf "%s/%s" (default "" $publish.namespace) (default "" $publish.name)) -}}
{{- $_ := set $found $name (concat (list "csi" .driver .volumeHandle $readOnly) $secrets) -}}
{{- end -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.attributes" -}}
{{- $found := dict -}}
{{- range $name, $shared := fromJson (include "facility.templates" .) -}}
{{- $csi := default dict $shared.volume.csi -}}
{{- $_ := set $found $name (default dict $csi.volumeAttributes) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.mountOptions" -}}
{{- $found := dict -}}
{{- range $name, $shared := fromJson (include "facility.templates" .) -}}
{{- $_ := set $found $name (default list $shared.volume.mountOptions) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}
