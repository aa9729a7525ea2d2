{{- /* The CA's file. Of replicas: with the number of one. */}}
{{- define "signet.caConfiguration" -}}
{{- $v := .root.Values }}
{{- $namespace := .root.Release.Namespace }}
{{- $names := list (printf "signet-ca.%s.svc" $namespace) -}}
trust_domain = {{ $v.trustDomain | toJson }}
state_dir = "/var/lib/signet/ca"
listen = "0.0.0.0:8443"
{{- if $v.ha.enabled }}
{{- $name := printf "signet-ca-%d.signet-ca-replicas.%s.svc" .number $namespace }}
{{- $names = append $names $name }}
replica = "signet-ca-{{ .number }}"
replica_byte = {{ add .number 1 }}
advertise = "{{ $name }}:8443"
{{- else }}
advertise = "signet-ca.{{ $namespace }}.svc:8443"
{{- end }}
server_names = [{{ range $index, $name := concat $names $v.ca.serverNames }}{{ if $index }}, {{ end }}{{ $name | toJson }}{{ end }}]
{{- with $v.ca.authoritySecret }}

[authority]
directory = "/var/run/secrets/signet/authority"
{{- end }}
{{- if $v.ha.enabled }}

[store]
kind = "postgres"
address = {{ required "ha.database.address is the address of the PostgreSQL server, such as db.example.org:5432" $v.ha.database.address | toJson }}
tls_roots = "/etc/signet-postgres/ca.crt"
user = {{ $v.ha.database.user | toJson }}
database = {{ $v.ha.database.name | toJson }}
password_file = "/etc/signet-postgres/password"
{{- end }}

[telemetry]
address = "127.0.0.1:9464"

[log]
format = "json"

[kubernetes]

[kubernetes.agents]
accounts = ["{{ $v.agent.namespace }}/signet-agent"]
{{- if $v.secrets.mode }}

[kubernetes.secrets]
mode = {{ $v.secrets.mode | toJson }}
{{- with $v.secrets.namespaces }}
namespaces = {{ . | toJson }}
{{- end }}
{{- with $v.secrets.environment }}
environment = {{ . | toJson }}
{{- end }}
{{- end }}
{{- if $v.trust.enabled }}
{{- $webhooks := list }}
{{- range $v.trust.validatingWebhooks }}{{ $webhooks = append $webhooks (printf "validating/%s" .) }}{{ end }}
{{- range $v.trust.mutatingWebhooks }}{{ $webhooks = append $webhooks (printf "mutating/%s" .) }}{{ end }}

[kubernetes.trust]
revocation_lists = {{ $v.trust.revocationLists }}
{{- with $webhooks }}
webhooks = [{{ range $index, $name := . }}{{ if $index }}, {{ end }}{{ $name | toJson }}{{ end }}]
{{- end }}
{{- end }}
{{- if $v.entries.enabled }}

[kubernetes.entries]
max_per_namespace = {{ int $v.entries.maxPerNamespace }}
max = {{ int $v.entries.max }}
{{- end }}
{{- with $v.ca.extraConfig }}

{{ . }}
{{- end }}
{{- end }}

{{- define "signet.agentConfiguration" -}}
{{- $namespace := .Release.Namespace -}}
trust_domain = {{ .Values.trustDomain | toJson }}
state_dir = "/var/lib/signet/agent"
{{- if .Values.ha.enabled }}
ca_addresses = [{{ range $number := until (int .Values.ha.replicas) }}{{ if $number }}, {{ end }}"signet-ca-{{ $number }}.signet-ca-replicas.{{ $namespace }}.svc:8443"{{ end }}]
{{- else }}
ca_address = "signet-ca.{{ $namespace }}.svc:8443"
{{- end }}
# Whom a node trusts at its first contact: whoever may write this ConfigMap decides it.
trust_bundle = "/var/run/signet/anchor/root-cert.pem"

[attestation]
service_account_token_file = "/var/run/secrets/signet/token"

[kubernetes]

[telemetry]
address = "127.0.0.1:9464"

[log]
format = "json"
{{- with .Values.agent.extraConfig }}

{{ . }}
{{- end }}
{{- end }}
