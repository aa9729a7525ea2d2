#!/bin/sh
# Makes the certificates of this directory anew with OpenSSL 3: CA certificates as other tools make them, and faulty ones.
# Valid from the day they are made for decades; tests choose 2030 as their time.
set -eu
cd "$(dirname "$0")"
openssl ecparam -name prime256v1 -genkey -noout -out root-key.tmp
openssl ecparam -name prime256v1 -genkey -noout -out ec-ca-key.pem
openssl genrsa -traditional -out rsa-ca-key.pem 2048
root() {
    openssl req -x509 -new -key root-key.tmp -subj "/O=Example/CN=Root CA" -sha256 -out openssl-root-cert.pem \
        -days 14600 \
        -addext "basicConstraints=critical,CA:true" -addext "keyUsage=critical,keyCertSign,cRLSign"
}
# ca NAME KEY SUBJECT DAYS KEY_USAGE KEY_ID
ca() {
    printf 'basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,%s\nsubjectKeyIdentifier=%s\n' "$5" "$6" > ca.tmp
    printf 'authorityKeyIdentifier=keyid\nsubjectAltName=DNS:istiod.istio-system.svc\n' >> ca.tmp
    openssl req -new -key "$2" -subj "$3" -out ca-csr.tmp
    openssl x509 -req -in ca-csr.tmp -CA openssl-root-cert.pem -CAkey root-key.tmp -extfile ca.tmp -out "$1" \
        -CAcreateserial -days "$4"
}
root
both=keyCertSign,cRLSign,digitalSignature
ca rsa-ca-cert.pem rsa-ca-key.pem "/O=Istio/CN=Intermediate CA/L=rsa" 8000 $both hash
ca ec-ca-cert.pem ec-ca-key.pem "/O=Istio/CN=Intermediate CA/L=ec" 8000 $both hash
ca ec-ca-no-cert-sign.pem ec-ca-key.pem "/O=Istio/CN=No keyCertSign" 8000 cRLSign,digitalSignature hash
ca ec-ca-no-key-id.pem ec-ca-key.pem "/O=Istio/CN=No key identifier" 8000 $both none
ca ec-ca-two-units.pem ec-ca-key.pem "/O=Istio/OU=one/OU=two/CN=Two units" 8000 $both hash
ca ec-ca-outlives.pem ec-ca-key.pem "/O=Istio/CN=Outlives" 18000 $both hash
rm -f ./*.tmp ./*.srl
