{{- define "signet.metricsProxy" -}}
- name: metrics-proxy
  image: {{ .Values.monitoring.proxyImage }}
  args:
    - --secure-listen-address=0.0.0.0:9443
    - --upstream=http://127.0.0.1:9464/
    - --allow-paths=/metrics
  ports:
    - name: metrics
      containerPort: 9443
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 128Mi
  volumeMounts:
    - name: kube-api-access
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}
