"""A Modbus server made with pymodbus, whose registers are laid out here with `struct` alone.

Units: 1 holds every format; 2 answers after --slow-ms; 3 never answers; 4 refuses with exception 6 (busy).
The state file names the port or device, and each tag of unit 1 as a machine file would, with the value it
must have.
"""

import argparse
import asyncio
import os
import pty
import struct
import tty

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from state import tell

# Which byte of the value stands where, written out by hand. A is the most significant.
ORDERS = {
    2: {"abcd": "AB", "badc": "BA"},
    4: {"abcd": "ABCD", "cdab": "CDAB", "badc": "BADC", "dcba": "DCBA"},
    8: {"abcd": "ABCDEFGH", "cdab": "GHEFCDAB", "badc": "BADCFEHG", "dcba": "HGFEDCBA"},
}

NUMBERS = {
    "u16": (">H", 54321),
    "i16": (">h", -12345),
    "u32": (">I", 3_123_456_789),
    "i32": (">i", -2_012_345_678),
    "f32": (">f", 229.01),
    "u64": (">Q", 9_007_199_254_740_993),
    "i64": (">q", -9_007_199_254_740_995),
    "f64": (">d", -123.456789012345),
}


class Layout:
    """Places values one after the other and remembers what each tag must read."""

    def __init__(self):
        # None is an address that does not exist.
        self.registers = {"holding_register": [], "input_register": []}
        self.bits = {"coil": [], "discrete_input": []}
        self.tags = []

    def add(self, table, form, content, expected, data_type, **config):
        """Adds bytes as they stand in the registers."""
        place = self.registers[table]
        name = f"{table}_{form}_{config.get('word_order', '')}{config.pop('suffix', '')}".rstrip("_")
        tag = {"id": name, "data_type": data_type, table: len(place), "format": form, **config}
        place.extend(struct.unpack(f">{len(content) // 2}H", content))
        self.tags.append({"config": tag, "expected": expected})

    def add_number(self, table, form, order):
        """Adds a number in one of the orders."""
        code, value = NUMBERS[form]
        plain = struct.pack(code, value)
        letters = ORDERS[len(plain)].get(order)
        if letters is None:
            return
        content = bytes(plain["ABCDEFGH".index(letter)] for letter in letters)
        is_float = form.startswith("f")
        expected = struct.unpack(code, plain)[0]
        self.add(table, form, content, expected, "float" if is_float else "int", word_order=order)

    def add_hole(self, table):
        """Adds a tag at an address that the server does not have, amid others."""
        place = self.registers[table]
        tag = {"id": "hole", "data_type": "int", table: len(place), "format": "u16"}
        place.append(None)
        self.tags.append({"config": tag, "expected": None, "quality": "BadConfigurationError"})

    def add_bit(self, table, on):
        """Adds one coil or input."""
        place = self.bits[table]
        tag = {"id": f"{table}_{len(place)}", "data_type": "bool", table: len(place), "format": "bool"}
        place.append(on)
        self.tags.append({"config": tag, "expected": on})


def layout():
    """Every table, format and order."""
    made = Layout()
    for order in ("abcd", "cdab", "badc", "dcba"):
        for form in NUMBERS:
            made.add_number("holding_register", form, order)
    for form in NUMBERS:
        made.add_number("input_register", form, "abcd")
    holding = "holding_register"
    made.add(holding, "u8", b"\xc8\x01", 200, "int", byte="high", suffix="high")
    made.add(holding, "u8", b"\x01\xc9", 201, "int", byte="low", suffix="low")
    made.add(holding, "i8", b"\x9c\x01", -100, "int", byte="high", suffix="high")
    made.add(holding, "i8", b"\x01\x9d", -99, "int", byte="low", suffix="low")
    made.add(holding, "bcd16", b"\x98\x76", 9876, "int")
    made.add(holding, "bcd32", b"\x12\x34\x56\x78", 12345678, "int")
    made.add(holding, "bit", b"\x80\x00", True, "bool", bit=15, suffix="15")
    made.add(holding, "bit", b"\x80\x00", False, "bool", bit=0, suffix="0")
    made.add(holding, "text", "Größe 7".encode().ljust(12, b"\0"), "Größe 7", "text", registers=6)
    made.add(holding, "u16", struct.pack(">H", 231), 23.1, "float", scale=0.1, suffix="scaled")
    made.add(holding, "i16", struct.pack(">h", -5), 35.0, "float", scale=1.0, offset=40.0, suffix="shifted")
    for index in range(32):
        made.add_bit("coil", index % 3 == 0)
        made.add_bit("discrete_input", index % 5 == 0)
    made.add_hole(holding)
    made.add(holding, "u16", struct.pack(">H", 4711), 4711, "int", suffix="behind_the_hole")
    return made


def blocks(made):
    """The four tables as pymodbus wants them."""
    def registers(table):
        words = enumerate(made.registers[table])
        return [SimData(i, values=word, datatype=DataType.REGISTERS) for i, word in words if word is not None]

    def bits(table):
        return [SimData(0, values=made.bits[table], datatype=DataType.BITS)]

    return bits("coil"), bits("discrete_input"), registers("holding_register"), registers("input_register")


def devices(made, slow_ms):
    """The four units."""
    async def slow(*_):
        await asyncio.sleep(slow_ms / 1000)

    async def silent(*_):
        await asyncio.Event().wait()

    async def busy(*_):
        return ExcCodes.DEVICE_BUSY

    plain = [SimData(0, values=list(range(100, 110)), datatype=DataType.REGISTERS)]
    others = [(2, slow), (3, silent), (4, busy)]
    return [SimDevice(1, simdata=blocks(made))] + [SimDevice(i, simdata=plain, action=a) for i, a in others]


def serial_line(loop):
    """Two pseudo terminals joined by their masters; the names of both ends."""
    ends = [pty.openpty(), pty.openpty()]
    for (master, slave), (other, _) in zip(ends, reversed(ends)):
        tty.setraw(slave)
        os.set_blocking(master, False)
        loop.add_reader(master, lambda source=master, sink=other: os.write(sink, os.read(source, 4096)))
    return [os.ttyname(slave) for _, slave in ends]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrier", choices=["tcp", "rtu", "rtu-over-tcp"], default="tcp")
    parser.add_argument("--slow-ms", type=int, default=150)
    parser.add_argument("--state", required=True)
    arguments = parser.parse_args()
    made = layout()
    units = devices(made, arguments.slow_ms)
    state = {"tags": made.tags}
    if arguments.carrier == "rtu":
        ours, state["device"] = serial_line(asyncio.get_running_loop())
        server = ModbusSerialServer(units, port=ours, baudrate=19200)
    else:
        framer = FramerType.SOCKET if arguments.carrier == "tcp" else FramerType.RTU
        server = ModbusTcpServer(units, framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    if arguments.carrier != "rtu":
        state["port"] = server.transport.sockets[0].getsockname()[1]
    tell(arguments.state, state)
    await server.serving


asyncio.run(main())
