{{- /*
What the schema cannot see, told all at once. The hub checks the same when it starts; here it is
told before anything is changed.
*/}}
{{- define "facility.checks" -}}
{{- $sizes := dict "singleuser" .Values.singleuser "scheduler" .Values.scheduler -}}
{{- $problems := list -}}
{{- $defaults := list -}}
{{- range $name, $pool := .Values.pools -}}
{{- if $pool.default -}}
{{- $defaults = append $defaults $name -}}
{{- end -}}
{{- end -}}
{{- if not $defaults -}}
{{- $problems = append $problems (printf "no pool is the default; add default: true to one of %s" (keys .Values.pools | sortAlpha | join ", ")) -}}
{{- else if gt (len $defaults) 1 -}}
{{- $problems = append $problems (printf "more than one pool is the default (%s); keep default: true in exactly one" ($defaults | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and (eq .Values.hub.db.type "postgres") (not .Values.hub.db.url) -}}
{{- $problems = append $problems "hub.db.url is missing, and hub.db.type: postgres needs it" -}}
{{- end -}}
{{- if and (ne .Values.hub.db.type "postgres") .Values.hub.db.url -}}
{{- $problems = append $problems (printf "hub.db.url is for hub.db.type: postgres, and the type is %s" .Values.hub.db.type) -}}
{{- end -}}
{{- $quotas := dict "tenants.quota" .Values.tenants.quota -}}
{{- range $kind := list "groups" "users" -}}
{{- range $name, $quota := get $.Values.tenants $kind -}}
{{- $_ := set $quotas (printf "tenants.%s.%s" $kind $name) $quota -}}
{{- end -}}
{{- end -}}
{{- range $path, $quota := $quotas -}}
{{- range $pool, $count := (default dict $quota.pools) -}}
{{- if not (hasKey $.Values.pools $pool) -}}
{{- $problems = append $problems (printf "%s.pools names the pool %s, and there are %s" $path $pool (keys $.Values.pools | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $section, $size := $sizes -}}
{{- range $what := list "cpu" "memory" -}}
{{- $guarantee := get $size (printf "%sGuarantee" $what) -}}
{{- $limit := get $size (printf "%sLimit" $what) -}}
{{- if gt (include "facility.amount" $guarantee | float64) (include "facility.amount" $limit | float64) -}}
{{- $problems = append $problems (printf "%s.%sGuarantee is %v, more than %s.%sLimit, which is %v" $section $what $guarantee $section $what $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $paths := dict .Values.singleuser.storage.homeMountPath "the home" "/tmp" "scratch" -}}
{{- range $name, $shared := .Values.sharedVolumes -}}
{{- if has $name (list "home" "pools" "tmp") -}}
{{- $problems = append $problems (printf "sharedVolumes.%s needs another name, since every server has a volume of that name" $name) -}}
{{- end -}}
{{- if and $shared.volume $shared.storageClass -}}
{{- $problems = append $problems (printf "sharedVolumes.%s has a storageClass and a volume; keep one of the two" $name) -}}
{{- end -}}
{{- if hasKey $paths $shared.mountPath -}}
{{- $problems = append $problems (printf "sharedVolumes.%s is mounted at %s, as is %s; give one of them another path" $name $shared.mountPath (get $paths $shared.mountPath)) -}}
{{- end -}}
{{- $_ := set $paths $shared.mountPath (printf "sharedVolumes.%s" $name) -}}
{{- end -}}
{{- $images := dict -}}
{{- $lost := list -}}
{{- $own := list (list "hub.image" .Values.hub.image "hub") (list "singleuser.image" .Values.singleuser.image "analysis") -}}
{{- if .Values.operator.enabled -}}
{{- $own = append $own (list "operator.image" .Values.operator.image "operator") -}}
{{- end -}}
{{- range $own -}}
{{- $name := include "facility.imageName" (list (index . 1) (index . 2) $) -}}
{{- if $name -}}
{{- $_ := set $images (index . 0) $name -}}
{{- else -}}
{{- $lost = append $lost (index . 0) -}}
{{- end -}}
{{- end -}}
{{- with $lost -}}
{{- $problems = append $problems (printf "images.registry is missing, and so %s would come from docker.io, from whoever has the name facility there; set images.registry to where `make images-push` has put the facility's images, such as registry.example/facility, or give each of these images by itself" (join " and " .)) -}}
{{- end -}}
{{- range $name, $profile := .Values.singleuser.profiles -}}
{{- with $profile.image -}}
{{- $_ := set $images (printf "singleuser.profiles.%s.image" $name) (include "facility.imageName" (list . "" $)) -}}
{{- end -}}
{{- range $choice, $chosen := $profile.images -}}
{{- $_ := set $images (printf "singleuser.profiles.%s.images.%s.image" $name $choice) (include "facility.imageName" (list $chosen.image "" $)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pool := .Values.pools -}}
{{- with $pool.image -}}
{{- $_ := set $images (printf "pools.%s.image" $name) . -}}
{{- end -}}
{{- end -}}
{{- range $position, $text := .Values.images.permitted -}}
{{- $_ := set $images (printf "images.permitted.%d" $position) $text -}}
{{- end -}}
{{- range $path, $text := $images -}}
{{- if not (regexMatch "^([^/@ ]*[.:][^/@ ]*|localhost)/" $text) -}}
{{- $problems = append $problems (printf "%s: %s must begin with its registry, such as registry.example/%s; nodes would take what somebody calls so at docker.io" $path $text $text) -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.hub.domain .Values.hub.usersTrustEachOther) -}}
{{- $problems = append $problems "hub.domain is missing, so that the hub and all users' servers have one address, and a page that one user's server serves can act as whoever opens it; give the hub's public host name, with DNS and a certificate for all names below it, or say hub.usersTrustEachOther: true" -}}
{{- end -}}
{{- if and .Values.hub.domain .Values.ingress.enabled .Values.ingress.tls -}}
{{- $covered := false -}}
{{- range .Values.ingress.tls -}}
{{- $covered = or $covered (has (include "facility.domain" $) .hosts) -}}
{{- end -}}
{{- if not $covered -}}
{{- $problems = append $problems (printf "ingress.tls has no certificate for hub.domain: name %s among the hosts of the one that is for it and for *.%s" (include "facility.domain" .) (include "facility.domain" .)) -}}
{{- end -}}
{{- end -}}
{{- $outside := list -}}
{{- if .Values.ingress.enabled -}}
{{- $outside = append $outside "ingress.enabled is true" -}}
{{- end -}}
{{- if ne .Values.proxy.service.type "ClusterIP" -}}
{{- $outside = append $outside (printf "proxy.service.type is %s" .Values.proxy.service.type) -}}
{{- end -}}
{{- if and $outside (not (dig "JupyterHub" "authenticator_class" "" .Values.hub.config)) (not .Values.hub.sharedPasswordOnTheNetwork) -}}
{{- $problems = append $problems (printf "hub.config.JupyterHub.authenticator_class is missing, so that one password opens every user's account, and %s, so that others can reach it; set an authenticator there, or for a trial among people who trust each other hub.sharedPasswordOnTheNetwork: true" ($outside | join " and ")) -}}
{{- end -}}
{{- $problems = concat $problems (fromJsonArray (include "facility.batch.problems" .)) -}}
{{- with $problems -}}
{{- fail (printf "\n\nThe values cannot be used:\n- %s\n" (join "\n- " .)) -}}
{{- end -}}
{{- end }}

{{- /* A quantity of Kubernetes, or a plain number, as a number. */}}
{{- define "facility.amount" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[+]?[0-9]*[.]?[0-9]*([eE][+-]?[0-9]+)?" $text -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text)) -}}
{{- end }}
