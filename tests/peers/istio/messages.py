"""The messages of istio.v1.auth, written down field by field from Istio's API and not from Signet's files: what a foreign client knows."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

FIELD = descriptor_pb2.FieldDescriptorProto

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
HANDLE_CSR = "/istio.v1.auth.IstioCAService/HandleCSR"


def _message(file, name, fields):
    message = file.message_type.add(name=name)
    for number, field, kind, label in fields:
        added = message.field.add(name=field, number=number, label=label)
        if isinstance(kind, str):
            added.type, added.type_name = FIELD.TYPE_MESSAGE, kind
        else:
            added.type = kind


def _classes():
    one, many = FIELD.LABEL_OPTIONAL, FIELD.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="istio_v1_auth.proto", package="istio.v1.auth", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    _message(file, "IstioCertificateRequest", [
        (1, "csr", FIELD.TYPE_STRING, one),
        (2, "subject_id", FIELD.TYPE_STRING, one),
        (3, "validity_duration", FIELD.TYPE_INT64, one),
        (4, "metadata", ".google.protobuf.Struct", one),
    ])
    _message(file, "IstioCertificateResponse", [(1, "cert_chain", FIELD.TYPE_STRING, many)])
    _message(file, "CsrRequest", [
        (1, "csr_pem", FIELD.TYPE_BYTES, one),
        (2, "node_agent_credential", FIELD.TYPE_BYTES, one),
        (3, "credential_type", FIELD.TYPE_STRING, one),
        (4, "requested_ttl_minutes", FIELD.TYPE_INT32, one),
    ])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName("istio.v1.auth." + name))


_class = _classes()
CertificateRequest = _class("IstioCertificateRequest")
CertificateResponse = _class("IstioCertificateResponse")
CsrRequest = _class("CsrRequest")


def set_metadata(request, values):
    for key, value in values.items():
        request.metadata.fields[key].string_value = value
