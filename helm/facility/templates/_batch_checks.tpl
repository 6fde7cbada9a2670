{{- /*
What of batch the schema cannot see. The Pod Security Standards are checked here too, since
Kubernetes would refuse a template only when Harvester's Jobs make their pods: they would wait for
ever.
*/}}

{{- /* Mistakes of a security context, from (list PATH CONTEXT), as a list in JSON. */}}
{{- define "facility.security.context" -}}
{{- $path := index . 0 -}}
{{- $context := default dict (index . 1) -}}
{{- $found := list -}}
{{- if eq (default "" (default dict $context.seccompProfile).type) "Unconfined" -}}
{{- $found = append $found (printf "%s.seccompProfile.type: Unconfined" $path) -}}
{{- end -}}
{{- if eq (default "" (default dict $context.appArmorProfile).type) "Unconfined" -}}
{{- $found = append $found (printf "%s.appArmorProfile.type: Unconfined" $path) -}}
{{- end -}}
{{- if (default dict $context.windowsOptions).hostProcess -}}
{{- $found = append $found (printf "%s.windowsOptions.hostProcess: true" $path) -}}
{{- end -}}
{{- $linux := default dict $context.seLinuxOptions -}}
{{- range $key := list "user" "role" -}}
{{- with get $linux $key -}}
{{- $found = append $found (printf "%s.seLinuxOptions.%s: %v" $path $key .) -}}
{{- end -}}
{{- end -}}
{{- if not (has (default "" $linux.type) (list "" "container_t" "container_init_t" "container_kvm_t" "container_engine_t")) -}}
{{- $found = append $found (printf "%s.seLinuxOptions.type: %v" $path $linux.type) -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- /* What Pod Security refuses in a pod's template, from (list PATH TEMPLATE LEVEL), as a list in JSON. */}}
{{- define "facility.security.problems" -}}
{{- $path := printf "%s.spec" (index . 0) -}}
{{- $spec := default dict (index . 1).spec -}}
{{- $restricted := eq (index . 2) "restricted" -}}
{{- $found := list -}}
{{- range $key, $profile := default dict (default dict (index . 1).metadata).annotations -}}
{{- if and (hasPrefix "container.apparmor.security.beta.kubernetes.io/" $key) (not (or (eq $profile "runtime/default") (hasPrefix "localhost/" $profile))) -}}
{{- $found = append $found (printf "%s.metadata.annotations.%s: %s" (trimSuffix ".spec" $path) $key $profile) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "hostNetwork" "hostPID" "hostIPC" -}}
{{- if get $spec $key -}}
{{- $found = append $found (printf "%s.%s: true" $path $key) -}}
{{- end -}}
{{- end -}}
{{- $kept := list "name" "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "persistentVolumeClaim" "projected" "secret" -}}
{{- range $number, $volume := default list $spec.volumes -}}
{{- if hasKey $volume "hostPath" -}}
{{- $found = append $found (printf "%s.volumes[%d].hostPath" $path $number) -}}
{{- else if $restricted -}}
{{- range $key := keys $volume | sortAlpha -}}
{{- if not (has $key $kept) -}}
{{- $found = append $found (printf "%s.volumes[%d].%s" $path $number $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $pod := default dict $spec.securityContext -}}
{{- $found = concat $found (fromJsonArray (include "facility.security.context" (list (printf "%s.securityContext" $path) $pod))) -}}
{{- $sysctls := list "kernel.shm_rmid_forced" "net.ipv4.ip_local_port_range" "net.ipv4.ip_unprivileged_port_start" "net.ipv4.tcp_syncookies" "net.ipv4.ping_group_range" "net.ipv4.ip_local_reserved_ports" "net.ipv4.tcp_keepalive_time" "net.ipv4.tcp_fin_timeout" "net.ipv4.tcp_keepalive_intvl" "net.ipv4.tcp_keepalive_probes" -}}
{{- range $number, $sysctl := default list $pod.sysctls -}}
{{- if not (has $sysctl.name $sysctls) -}}
{{- $found = append $found (printf "%s.securityContext.sysctls[%d].name: %s" $path $number $sysctl.name) -}}
{{- end -}}
{{- end -}}
{{- $capabilities := list "AUDIT_WRITE" "CHOWN" "DAC_OVERRIDE" "FOWNER" "FSETID" "KILL" "MKNOD" "NET_BIND_SERVICE" "SETFCAP" "SETGID" "SETPCAP" "SETUID" "SYS_CHROOT" -}}
{{- if $restricted -}}
{{- $capabilities = list "NET_BIND_SERVICE" -}}
{{- if and (not (kindIs "invalid" $pod.runAsUser)) (eq (int $pod.runAsUser) 0) -}}
{{- $found = append $found (printf "%s.securityContext.runAsUser: 0" $path) -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "initContainers" "containers" -}}
{{- range $number, $container := default list (get $spec $kind) -}}
{{- $here := printf "%s.%s[%d]" $path $kind $number -}}
{{- $context := default dict $container.securityContext -}}
{{- $found = concat $found (fromJsonArray (include "facility.security.context" (list (printf "%s.securityContext" $here) $context))) -}}
{{- if $context.privileged -}}
{{- $found = append $found (printf "%s.securityContext.privileged: true" $here) -}}
{{- end -}}
{{- if not (has (default "Default" $context.procMount) (list "Default")) -}}
{{- $found = append $found (printf "%s.securityContext.procMount: %s" $here $context.procMount) -}}
{{- end -}}
{{- range default list (default dict $context.capabilities).add -}}
{{- if not (has . $capabilities) -}}
{{- $found = append $found (printf "%s.securityContext.capabilities.add: %s" $here .) -}}
{{- end -}}
{{- end -}}
{{- range $at, $port := default list $container.ports -}}
{{- if $port.hostPort -}}
{{- $found = append $found (printf "%s.ports[%d].hostPort: %v" $here $at $port.hostPort) -}}
{{- end -}}
{{- end -}}
{{- range $probe := list "livenessProbe" "readinessProbe" "startupProbe" -}}
{{- range $way := list "httpGet" "tcpSocket" -}}
{{- with (default dict (get (default dict (get $container $probe)) $way)).host -}}
{{- $found = append $found (printf "%s.%s.%s.host: %s" $here $probe $way .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $restricted -}}
{{- if or (kindIs "invalid" $context.allowPrivilegeEscalation) $context.allowPrivilegeEscalation -}}
{{- $found = append $found (printf "%s.securityContext.allowPrivilegeEscalation: must be false" $here) -}}
{{- end -}}
{{- $nonRoot := ternary $pod.runAsNonRoot $context.runAsNonRoot (kindIs "invalid" $context.runAsNonRoot) -}}
{{- if not $nonRoot -}}
{{- $found = append $found (printf "%s.securityContext.runAsNonRoot: must be true, here or of the pod" $here) -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $context.runAsUser)) (eq (int $context.runAsUser) 0) -}}
{{- $found = append $found (printf "%s.securityContext.runAsUser: 0" $here) -}}
{{- end -}}
{{- $profile := default (default "" (default dict $pod.seccompProfile).type) (default "" (default dict $context.seccompProfile).type) -}}
{{- if not (has $profile (list "RuntimeDefault" "Localhost" "Unconfined")) -}}
{{- $found = append $found (printf "%s.securityContext.seccompProfile.type: must be RuntimeDefault or Localhost, here or of the pod" $here) -}}
{{- end -}}
{{- if not (has "ALL" (default list (default dict $context.capabilities).drop)) -}}
{{- $found = append $found (printf "%s.securityContext.capabilities.drop: must have ALL" $here) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toRawJson $found }}
{{- end }}

{{- /* Mistakes of the section batch, as a list in JSON. */}}
{{- define "facility.batch.problems" -}}
{{- $problems := list -}}
{{- $batch := .Values.batch -}}
{{- if $batch.enabled -}}
{{- $namespace := include "facility.batch.namespace" . -}}
{{- if hasPrefix .Values.tenants.prefix $namespace -}}
{{- $problems = append $problems (printf "batch.namespace is %s and begins with tenants.prefix, as namespaces of users do; choose another one" $namespace) -}}
{{- end -}}
{{- if eq $namespace .Release.Namespace -}}
{{- $problems = append $problems (printf "batch.namespace is %s, the hub's own; choose another one" $namespace) -}}
{{- end -}}
{{- range $name, $pool := .Values.pools -}}
{{- with $pool.priorityClass -}}
{{- $class := lookup "scheduling.k8s.io/v1" "PriorityClass" "" . -}}
{{- if and $class (ne (int $class.value) 0) -}}
{{- $problems = append $problems (printf "pools.%s.priorityClass is %s with the value %d, and with batch all users' pods need the value 0: of two values the higher would displace the lower; leave it out, or give the pool a PriorityClass with the value 0" $name . (int $class.value)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $what := list "cpu" "memory" -}}
{{- $largest := get $batch.largestJob $what -}}
{{- $most := get $batch.quota $what -}}
{{- if and $largest $most (gt (include "facility.amount" $largest | float64) (include "facility.amount" $most | float64)) -}}
{{- $problems = append $problems (printf "batch.largestJob.%s is %v, more than batch.quota.%s, which is %v; no such job could run" $what $largest $what $most) -}}
{{- end -}}
{{- end -}}
{{- /* Nothing is known of nodes where nothing is asked, as by `helm template`, or before an autoscaler has made one. */ -}}
{{- $nodes := list -}}
{{- range default list (lookup "v1" "Node" "" "").items -}}
{{- $labels := default dict .metadata.labels -}}
{{- $fits := true -}}
{{- range $key, $value := $batch.nodeSelector -}}
{{- $fits = and $fits (eq (toString (get $labels $key)) (toString $value)) -}}
{{- end -}}
{{- if $fits -}}
{{- $nodes = append $nodes . -}}
{{- end -}}
{{- end -}}
{{- range $what := list "cpu" "memory" -}}
{{- $largest := get $batch.largestJob $what -}}
{{- if and $nodes $largest -}}
{{- $best := "" -}}
{{- $most := 0.0 -}}
{{- range $nodes -}}
{{- $has := include "facility.amount" (get .status.allocatable $what) | float64 -}}
{{- if gt $has $most -}}
{{- $most = $has -}}
{{- $best = printf "%s with %v" .metadata.name (get .status.allocatable $what) -}}
{{- end -}}
{{- end -}}
{{- if gt (include "facility.amount" $largest | float64) $most -}}
{{- $problems = append $problems (printf "batch.largestJob.%s is %v, more than any node of batch.nodeSelector gives to pods; the largest is %s" $what $largest $best) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $job := fromYaml (include "facility.batch.template" .) -}}
{{- $template := default dict $job.spec.template -}}
{{- $spec := default dict $template.spec -}}
{{- $path := "batch.template.spec.template" -}}
{{- if not $spec.containers -}}
{{- $problems = append $problems (printf "%s.spec.containers is missing; name the container of the pilot" $path) -}}
{{- end -}}
{{- range fromJsonArray (include "facility.security.problems" (list $path $template $batch.podSecurity)) -}}
{{- $problems = append $problems (printf "%s is refused by batch.podSecurity: %s; change it there" . $batch.podSecurity) -}}
{{- end -}}
{{- $grace := ternary 30 (int $spec.terminationGracePeriodSeconds) (kindIs "invalid" $spec.terminationGracePeriodSeconds) -}}
{{- if gt $grace (int $batch.grace) -}}
{{- $problems = append $problems (printf "%s.spec.terminationGracePeriodSeconds is %d, more than batch.grace, which is %d; a user's pod would wait longer" $path $grace (int $batch.grace)) -}}
{{- end -}}
{{- $class := include "facility.batch.class" . -}}
{{- if and $spec.priorityClassName (ne $spec.priorityClassName $class) -}}
{{- $problems = append $problems (printf "%s.spec.priorityClassName is %s; that of batch is %s" $path $spec.priorityClassName $class) -}}
{{- end -}}
{{- if eq (default "" $spec.serviceAccountName) "harvester" -}}
{{- $problems = append $problems (printf "%s.spec.serviceAccountName is harvester, which is Harvester's alone; leave it out" $path) -}}
{{- end -}}
{{- range $number, $container := default list $spec.containers -}}
{{- range $kind, $amounts := default dict $container.resources -}}
{{- if kindIs "map" $amounts -}}
{{- range $what, $amount := $amounts -}}
{{- $largest := get $batch.largestJob $what -}}
{{- if and $largest (gt (include "facility.amount" $amount | float64) (include "facility.amount" $largest | float64)) -}}
{{- $problems = append $problems (printf "%s.spec.containers[%d].resources.%s.%s is %v, more than batch.largestJob.%s, which is %v" $path $number $kind $what $amount $what $largest) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toRawJson $problems }}
{{- end }}
