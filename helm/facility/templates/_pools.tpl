{{- /*
What the admission policies know of pools and shared volumes, as JSON. facility/kubernetes/tenant
makes the same; tests/chart compares them.
*/}}

{{- define "facility.poolClass" -}}
{{- default (printf "%s-pool-%s" (index . 0).Release.Name (index . 1)) (index . 2).priorityClass -}}
{{- end }}

{{- /* PriorityClasses that are the release's own, each with the one that displaces batch. */}}
{{- define "facility.preemptingClasses" -}}
{{- $root := . -}}
{{- $kinds := list "notebook" "scheduler" "job" -}}
{{- range $name, $pool := .Values.pools -}}
{{- if not $pool.priorityClass -}}
{{- $kinds = append $kinds (printf "pool-%s" $name) -}}
{{- end -}}
{{- end -}}
{{- $found := dict -}}
{{- range $kinds -}}
{{- $_ := set $found (printf "%s-%s" $root.Release.Name .) (printf "%s-preempting-%s" $root.Release.Name .) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- /* What holds for each PriorityClass, from (list CONTEXT MAPPING): with batch for those that
displace it, and for those from before it where they are still permitted. */}}
{{- define "facility.ofClasses" -}}
{{- $root := index . 0 -}}
{{- $found := index . 1 -}}
{{- if $root.Values.batch.enabled -}}
{{- range $before, $class := fromJson (include "facility.preemptingClasses" $root) -}}
{{- if hasKey $found $before -}}
{{- $_ := set $found $class (get $found $before) -}}
{{- if not $root.Values.batch.earlierClasses -}}
{{- $_ := unset $found $before -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toRawJson $found }}
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
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.selectors" .))) -}}
{{- end }}

{{- define "facility.without.selectors" -}}
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
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.gpusOf" .))) -}}
{{- end }}

{{- define "facility.without.gpusOf" -}}
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
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.tolerated" .))) -}}
{{- end }}

{{- define "facility.without.tolerated" -}}
{{- $root := . -}}
{{- $devices := fromJson (include "facility.without.gpusOf" .) -}}
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
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.runtimes" .))) -}}
{{- end }}

{{- define "facility.without.runtimes" -}}
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
{{- $root := . -}}
{{- $found := list (include "facility.imageName" (list .Values.singleuser.image "analysis" .)) -}}
{{- range $name, $profile := .Values.singleuser.profiles -}}
{{- with $profile.image -}}
{{- $found = append $found (include "facility.imageName" (list . "" $root)) -}}
{{- end -}}
{{- range $profile.images -}}
{{- $found = append $found (include "facility.imageName" (list .image "" $root)) -}}
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

{{- /* Labels as KEY=VALUE, in the order of their keys. */}}
{{- define "facility.pairs" -}}
{{- $found := list -}}
{{- range $key, $value := . -}}
{{- $found = append $found (printf "%s=%v" $key $value) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.selectable" -}}
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.selectable" .))) -}}
{{- end }}

{{- define "facility.without.selectable" -}}
{{- $root := . -}}
{{- $servers := fromJsonArray (include "facility.pairs" .Values.singleuser.nodeSelector) -}}
{{- range $name, $profile := .Values.singleuser.profiles -}}
{{- $servers = concat $servers (fromJsonArray (include "facility.pairs" (default dict $profile.nodeSelector))) -}}
{{- end -}}
{{- $servers = $servers | uniq | sortAlpha -}}
{{- $scheduler := fromJsonArray (include "facility.pairs" .Values.scheduler.nodeSelector) -}}
{{- $found := dict (printf "%s-notebook" .Release.Name) $servers (printf "%s-job" .Release.Name) $servers (printf "%s-scheduler" .Release.Name) ($scheduler | sortAlpha) -}}
{{- range $class, $selector := fromJson (include "facility.without.selectors" .) -}}
{{- if not (hasKey $found $class) -}}
{{- $_ := set $found $class (fromJsonArray (include "facility.pairs" $selector) | sortAlpha) -}}
{{- end -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- /* A term of a node affinity: its weight, and each expression as a list of words. */}}
{{- define "facility.term" -}}
{{- $found := list (list (index . 0)) -}}
{{- range (index . 1).matchExpressions -}}
{{- $words := list .key .operator -}}
{{- range .values -}}
{{- $words = append $words . -}}
{{- end -}}
{{- $found = append $found $words -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.nodeAffinity" -}}
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.nodeAffinity" .))) -}}
{{- end }}

{{- define "facility.without.nodeAffinity" -}}
{{- $root := . -}}
{{- $found := dict (printf "%s-job" .Release.Name) list (printf "%s-scheduler" .Release.Name) list -}}
{{- range $name, $pool := .Values.pools -}}
{{- $affinity := default dict (default dict $pool.affinity).nodeAffinity -}}
{{- $terms := list -}}
{{- range (default dict $affinity.requiredDuringSchedulingIgnoredDuringExecution).nodeSelectorTerms -}}
{{- $terms = append $terms (fromJsonArray (include "facility.term" (list "0" .))) -}}
{{- end -}}
{{- range $affinity.preferredDuringSchedulingIgnoredDuringExecution -}}
{{- $terms = append $terms (fromJsonArray (include "facility.term" (list (toString .weight) .preference))) -}}
{{- end -}}
{{- $_ := set $found (include "facility.poolClass" (list $root $name $pool)) $terms -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.annotations" -}}
{{- $always := list "kubernetes.io/limit-ranger" "batch.kubernetes.io/job-completion-index" "openshift.io/scc" "security.openshift.io/validated-scc-subject-type" -}}
{{ toRawJson (concat $always .Values.tenants.permitted.annotations) }}
{{- end }}

{{- define "facility.data.annotationsOf" -}}
{{- include "facility.ofClasses" (list . (fromJson (include "facility.without.annotationsOf" .))) -}}
{{- end }}

{{- define "facility.without.annotationsOf" -}}
{{- $root := . -}}
{{- $found := dict -}}
{{- range $name, $pool := .Values.pools -}}
{{- $_ := set $found (include "facility.poolClass" (list $root $name $pool)) (default dict $pool.annotations) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.longestGrace" -}}
{{- $found := 600 -}}
{{- range $name, $pool := .Values.pools -}}
{{- $found = max $found (int (ceil (default 0 $pool.grace))) -}}
{{- end -}}
{{ $found }}
{{- end }}

{{- define "facility.data.readOnlyClaims" -}}
{{- $found := list -}}
{{- range $name, $shared := .Values.sharedVolumes -}}
{{- if eq (include "facility.readOnly" $shared) "true" -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.csiVolumes" -}}
{{- $found := dict -}}
{{- range .Values.tenants.permitted.csiVolumes -}}
{{- $key := printf "%s %s" .driver (include "facility.readOnly" .) -}}
{{- $_ := set $found $key (append (default list (index $found $key)) (default dict .volumeAttributes)) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- define "facility.data.finalizers" -}}
{{ toRawJson (concat (list "foregroundDeletion" "orphan") .Values.tenants.permitted.finalizers) }}
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
{{- $options := default list $shared.volume.mountOptions -}}
{{- if and (eq (include "facility.readOnly" $shared) "true") (not (has "ro" $options)) -}}
{{- $options = append $options "ro" -}}
{{- end -}}
{{- $_ := set $found $name $options -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}
