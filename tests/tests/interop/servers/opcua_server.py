"""An OPC UA server made with asyncua.

Its state file names the endpoint, and each tag as a machine file would, with the value and quality it must
have. `counter` grows by one every 100 ms from --base on. With --protected it can only be entered over
Basic256Sha256, SignAndEncrypt, by a user with a password; its certificate is written to the given file.
"""

import argparse
import asyncio
import datetime
import socket
import uuid
from enum import IntEnum

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from state import tell

NAMESPACE = "urn:interop:machine"
APPLICATION = "urn:interop:server"
USER, PASSWORD = "operator", "s3cret"


class Mode(IntEnum):
    """What the machine does."""

    OFF = 0
    AUTOMATIC = 2


class Users:
    """One user with a password."""

    def get_user(self, _server, username=None, password=None, certificate=None):
        """The user, if name and password fit."""
        fits = username == USER and password in (PASSWORD, PASSWORD.encode())
        return User(role=UserRole.User) if fits else None


def values():
    """Name, variant, data type of the tag, expected value."""
    t = ua.VariantType
    moment = datetime.datetime(2024, 2, 29, 12, 30, 45, 250000, tzinfo=datetime.timezone.utc)
    return [
        ("Boolean", ua.Variant(True, t.Boolean), "bool", True),
        ("SByte", ua.Variant(-128, t.SByte), "int", -128),
        ("Byte", ua.Variant(255, t.Byte), "int", 255),
        ("Int16", ua.Variant(-32768, t.Int16), "int", -32768),
        ("UInt16", ua.Variant(65535, t.UInt16), "int", 65535),
        ("Int32", ua.Variant(-12, t.Int32), "int", -12),
        ("UInt32", ua.Variant(4294967284, t.UInt32), "int", 4294967284),
        ("Int64", ua.Variant(9007199254740993, t.Int64), "int", 9007199254740993),
        ("Int64Min", ua.Variant(-(2**63), t.Int64), "int", -(2**63)),
        ("UInt64", ua.Variant(2**63 - 1, t.UInt64), "int", 2**63 - 1),
        ("UInt64Max", ua.Variant(2**64 - 1, t.UInt64), "int", "18446744073709551615"),
        ("Float", ua.Variant(0.5, t.Float), "float", 0.5),
        ("Double", ua.Variant(-123.456789012345, t.Double), "float", -123.456789012345),
        ("String", ua.Variant("Größe 7", t.String), "text", "Größe 7"),
        ("NumericString", ua.Variant("007", t.String), "text", "007"),
        ("LocalizedText", ua.Variant(ua.LocalizedText("läuft", "de"), t.LocalizedText), "text", "läuft"),
        ("ByteString", ua.Variant(b"\x01\x02\x03", t.ByteString), "text", "AQID"),
        ("Guid", ua.Variant(uuid.UUID(int=5), t.Guid), "text", str(uuid.UUID(int=5))),
        ("DateTime", ua.Variant(moment, t.DateTime), "text", "2024-02-29T12:30:45.250+00:00"),
        ("Enumeration", ua.Variant(Mode.AUTOMATIC, t.Int32), "int", 2),
        ("Int32Array", ua.Variant([1, -2, 3], t.Int32), "text", "[1,-2,3]"),
        ("Int64Array", ua.Variant([9007199254740993], t.Int64), "text", "[9007199254740993]"),
        ("DoubleArray", ua.Variant([0.5, 1.25], t.Double), "text", "[0.5,1.25]"),
        ("StringArray", ua.Variant(["a", 'b"c'], t.String), "text", '["a","b\\"c"]'),
        ("EmptyArray", ua.Variant([], t.Int32, is_array=True), "text", "[]"),
    ]


def qualities():
    """Name, data value, expected value, expected quality."""
    def with_status(value, code):
        variant = ua.Variant(value, ua.VariantType.Double)
        return ua.DataValue(variant, ua.StatusCode(code), datetime.datetime.now(datetime.timezone.utc))

    s = ua.StatusCodes
    old = ua.DataValue(ua.Variant(7.5, ua.VariantType.Double), ua.StatusCode(s.Good),
                       datetime.datetime(2000, 1, 1, 0, 0, 10, tzinfo=datetime.timezone.utc))
    return [
        ("SensorFailure", with_status(1.5, s.BadSensorFailure), None, "BadSensorFailure", None),
        ("LastUsable", with_status(2.5, s.UncertainLastUsableValue), 2.5, "UncertainLastUsableValue", None),
        ("OutOfRange", with_status(3.5, s.UncertainEngineeringUnitsExceeded), 3.5,
         "UncertainEngineeringUnitsExceeded", None),
        ("ClockOf2000", old, 7.5, "Good", 946684810000),
    ]


def tag(name, data_type, expected, quality="Good", source_ms=None):
    """A tag as a machine file has it."""
    config = {"id": name.lower(), "data_type": data_type, "node_id": f"nsu={NAMESPACE};s={name}"}
    return {"config": config, "expected": expected, "quality": quality, "source_ms": source_ms}


async def fill(server):
    """Adds the variables and gives the tags."""
    index = await server.register_namespace(NAMESPACE)
    machine = await server.nodes.objects.add_object(ua.NodeId("Machine", index), "Machine")
    tags = []
    for name, variant, data_type, expected in values():
        await machine.add_variable(ua.NodeId(name, index), name, variant)
        tags.append(tag(name, data_type, expected))
    for name, data, expected, quality, source_ms in qualities():
        node = await machine.add_variable(ua.NodeId(name, index), name, 0.0, ua.VariantType.Double)
        await server.iserver.write_attribute_value(node.nodeid, data)
        tags.append(tag(name, "float", expected, quality, source_ms))
    null = ua.Variant(None, ua.VariantType.Null)
    anything = ua.NodeId(ua.ObjectIds.BaseDataType)
    await machine.add_variable(ua.NodeId("Null", index), "Null", null, datatype=anything)
    # BadNoData, which the status page has no name of its own for.
    tags.append(tag("Null", "float", None, "Bad"))
    tags.append(tag("Missing", "float", None, "BadNodeIdUnknown"))
    counter = await machine.add_variable(ua.NodeId("counter", index), "counter", 0, ua.VariantType.Int64)
    return tags, counter


def certify(key_file, certificate_file):
    """A key, and a certificate that it signed itself."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "interop")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.UniformResourceIdentifier(APPLICATION), x509.DNSName("localhost")]
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    purpose = [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(usage, True).add_extension(x509.ExtendedKeyUsage(purpose), False)
        .sign(key, hashes.SHA256())
    )
    with open(key_file, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with open(certificate_file, "wb") as file:
        file.write(certificate.public_bytes(Encoding.DER))


def free_port():
    """A port that was free a moment ago; asyncua announces the port it was told, so 0 will not do."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def make(arguments, port):
    """A server that does not listen yet."""
    server = Server(user_manager=Users() if arguments.protected else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    await server.set_application_uri(APPLICATION)
    if arguments.protected:
        key = arguments.protected + ".key.pem"
        certify(key, arguments.protected)
        await server.load_certificate(arguments.protected)
        await server.load_private_key(key)
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_identity_tokens([ua.UserNameIdentityToken])
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    return server


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--protected", metavar="CERTIFICATE")
    parser.add_argument("--state", required=True)
    arguments = parser.parse_args()
    port = arguments.port or free_port()
    server = await make(arguments, port)
    tags, counter = await fill(server)
    async with server:
        tell(arguments.state, {"port": port, "endpoint": f"opc.tcp://127.0.0.1:{port}", "tags": tags})
        value = arguments.base
        while True:
            value += 1
            await counter.write_value(value, ua.VariantType.Int64)
            await asyncio.sleep(0.1)


asyncio.run(main())
