{{- /* The site's batch: names, the Job from which Harvester makes each worker's, rules of its pods. */}}

{{- define "facility.batch.namespace" -}}
{{ default (printf "batch-%s" .Release.Name) .Values.batch.namespace }}
{{- end }}

{{- define "facility.batch.class" -}}
{{ .Release.Name }}-batch
{{- end }}

{{- define "facility.batch.metadata" -}}
namespace: {{ include "facility.batch.namespace" . }}
labels:
  {{- include "facility.labels" . | nindent 2 }}
  facility/batch: {{ .Release.Name }}
{{- end }}

{{- /*
The Job. Harvester adds image, command, variables and the ConfigMap of the pilot's starter; and the
requests of the queue, unless the template has some.
*/}}
{{- define "facility.batch.template" -}}
{{- if .Values.batch.template -}}
{{ toYaml .Values.batch.template }}
{{- else -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: pilot
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 172800
  # A pod that made room for a user's, or whose node is gone, is made again.
  podFailurePolicy:
    rules:
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
  template:
    spec:
      restartPolicy: Never
      priorityClassName: {{ include "facility.batch.class" . }}
      terminationGracePeriodSeconds: {{ .Values.batch.grace }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with include "facility.placed" .Values.batch | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        runAsGroup: 1000
        fsGroup: 1000
        {{- if eq .Values.batch.podSecurity "restricted" }}
        seccompProfile:
          type: RuntimeDefault
        {{- end }}
      containers:
        - name: pilot
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: [ALL]
          volumeMounts:
            - {name: pilot-dir, mountPath: /pilotdir}
            - {name: proxy-secret, mountPath: /proxy, readOnly: true}
            {{- if .Values.batch.cvmfs.storageClass }}
            - {name: cvmfs, mountPath: /cvmfs, readOnly: true, mountPropagation: HostToContainer}
            {{- end }}
      volumes:
        - name: pilot-dir
          emptyDir: {}
        - name: proxy-secret
          secret:
            secretName: proxy-secret
        {{- if .Values.batch.cvmfs.storageClass }}
        - name: cvmfs
          persistentVolumeClaim:
            claimName: cvmfs
            readOnly: true
        {{- end }}
{{- end -}}
{{- end }}

{{- /* Taints that batch may tolerate, as the rules write them. */}}
{{- define "facility.batch.tolerated" -}}
{{- $texts := list "node.kubernetes.io/not-ready Exists  NoExecute" "node.kubernetes.io/unreachable Exists  NoExecute" "node.kubernetes.io/memory-pressure Exists  NoSchedule" -}}
{{- range .Values.batch.tolerations -}}
{{- $texts = append $texts (include "facility.toleration" .) -}}
{{- end -}}
{{ toRawJson (uniq $texts) }}
{{- end }}

{{- /* Variables and rules of a pod's specification, from (list SPEC CONTEXT). */}}
{{- define "facility.batch.variables" -}}
{{- $spec := index . 0 -}}
{{- $root := index . 1 -}}
- name: containers
  expression: >-
    {{ $spec }}.containers + {{ $spec }}.?initContainers.orValue([])
- name: selector
  expression: {{ toRawJson $root.Values.batch.nodeSelector | squote }}
- name: tolerated
  expression: {{ include "facility.batch.tolerated" $root | squote }}
- name: tolerations
  expression: >-
    {{ $spec }}.?tolerations.orValue([]).map(t, [[t.?key.orValue(''), t.?operator.orValue('Equal'), t.?value.orValue(''), t.?effect.orValue('')].join(' '), has(t.tolerationSeconds) ? string(t.tolerationSeconds) : ''])
{{- end }}

{{- define "facility.batch.rules" -}}
{{- $spec := index . 0 -}}
{{- $root := index . 1 -}}
{{- $batch := $root.Values.batch -}}
{{- $class := include "facility.batch.class" $root -}}
- expression: >-
    {{ $spec }}.?priorityClassName.orValue('') == '{{ $class }}'
  message: >-
    the priorityClassName of batch is {{ $class }}: set k8s.scheduler.priorityClassName of the PanDA queue to it
  reason: Forbidden
- expression: >-
    variables.selector.all(k, {{ $spec }}.?nodeSelector.orValue({})[?k].orValue('') == variables.selector[k])
  messageExpression: >-
    'batch runs on the nodes of batch.nodeSelector: ' + variables.selector.map(k, k + ': ' + variables.selector[k]).join(', ')
  reason: Forbidden
- expression: >-
    variables.tolerations.all(t, t[0] in variables.tolerated || t.join(' ') in variables.tolerated)
  messageExpression: >-
    'a toleration is not permitted; batch.tolerations has ' + variables.tolerated.join(', ')
  reason: Forbidden
- expression: >-
    {{ $spec }}.?serviceAccountName.orValue('default') != 'harvester'
  message: >-
    the ServiceAccount harvester is Harvester's alone, and no pod's
  reason: Forbidden
- expression: >-
    {{ $spec }}.?volumes.orValue([]).all(v, has(v.configMap) || has(v.secret) || has(v.emptyDir) || has(v.projected)
    || has(v.downwardAPI) || has(v.persistentVolumeClaim))
  message: >-
    volumes of batch are configMap, secret, emptyDir, projected, downwardAPI and persistentVolumeClaim
  reason: Forbidden
- expression: >-
    variables.containers.all(c,
    c.?resources.requests.orValue({}).all(r, r in ['cpu', 'memory', 'ephemeral-storage']) &&
    c.?resources.limits.orValue({}).all(r, r in ['cpu', 'memory', 'ephemeral-storage']))
  message: >-
    batch asks for cpu, memory and ephemeral-storage, and for no device
  reason: Forbidden
- expression: >-
    variables.containers.all(c, ['cpu', 'memory'].all(r,
    r in c.?resources.requests.orValue({}) || r in c.?resources.limits.orValue({})))
  message: >-
    a container has no requests of cpu and memory: give the PanDA queue corecount and maxrss in CRIC, from which
    Harvester sets them, or the template resources.requests
  reason: Forbidden
- expression: >-
    variables.containers.all(c, (!('cpu' in c.?resources.requests.orValue({})) ||
    quantity(string(c.resources.requests['cpu'])).compareTo(quantity('{{ $batch.largestJob.cpu }}')) <= 0) &&
    (!('cpu' in c.?resources.limits.orValue({})) ||
    quantity(string(c.resources.limits['cpu'])).compareTo(quantity('{{ $batch.largestJob.cpu }}')) <= 0))
  message: >-
    a container has more cores than the largest job that the site takes, {{ $batch.largestJob.cpu }}
    (batch.largestJob.cpu): lower corecount of the PanDA queue
  reason: Forbidden
{{- with $batch.largestJob.memory }}
- expression: >-
    variables.containers.all(c, !('memory' in c.?resources.requests.orValue({})) ||
    quantity(string(c.resources.requests['memory'])).compareTo(quantity('{{ . }}')) <= 0)
  message: >-
    a container asks for more memory than the largest job that the site takes, {{ . }}
    (batch.largestJob.memory): lower maxrss of the PanDA queue
  reason: Forbidden
{{- end }}
- expression: >-
    {{ $spec }}.?terminationGracePeriodSeconds.orValue(30) <= {{ $batch.grace }}
  message: >-
    terminationGracePeriodSeconds of batch is at most {{ $batch.grace }} (batch.grace), so that users do not wait longer
  reason: Forbidden
- expression: "!has({{ $spec }}.resourceClaims)"
  message: >-
    resourceClaims are not permitted
  reason: Forbidden
{{- end }}

{{- /* A policy's binding to the namespace, whoever asks and whatever labels a pod has. */}}
{{- define "facility.batch.binding" -}}
{{- $name := index . 0 -}}
{{- $root := index . 1 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    app.kubernetes.io/managed-by: facility
    facility/hub: {{ $root.Release.Name }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ include "facility.batch.namespace" $root }}
{{- end }}
