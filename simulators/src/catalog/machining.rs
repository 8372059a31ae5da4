//! Mill, lathe and robot cell.

use super::{
    AlarmKind::{High, Low},
    Flag, KindSpec, alarmed, analog, f32_, i16_, i32_, u16_,
};

pub(super) const CNC_MILL: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("spindle_temperature", "Spindle temperature", "Cel", i16_(1), (28.0, 56.0, 5.0, 0.4)),
            High,
            80.0,
            2.0,
            "Spindle too hot: check coolant",
        ),
        alarmed(
            analog("coolant_pressure", "Coolant pressure", "bar", i16_(2), (6.4, 6.1, 0.3, 0.05)),
            Low,
            3.0,
            0.3,
            "Coolant pressure low: check pump and filter",
        ),
    ],
    analogs: [
        analog("spindle_speed", "Spindle speed", "/min", u16_(0), (0.0, 8000.0, 400.0, 25.0)),
        analog("spindle_load", "Spindle load", "%", u16_(1), (0.0, 62.0, 15.0, 2.5)),
        analog("feed_rate", "Feed rate", "mm/min", u16_(0), (0.0, 2400.0, 350.0, 20.0)),
        analog("vibration", "Vibration", "mm/s", f32_(3), (0.1, 2.2, 0.5, 0.12)),
        analog("active_power", "Active power", "kW", u16_(2), (1.4, 11.5, 2.0, 0.3)),
        analog("axis_x_position", "X axis position", "mm", i32_(3), (0.0, 60.0, 240.0, 0.02)),
        analog("axis_z_position", "Z axis position", "mm", i32_(3), (0.0, -80.0, 60.0, 0.02)),
        analog("coolant_temperature", "Coolant temperature", "Cel", i16_(1), (21.0, 27.0, 1.5, 0.2)),
        analog("oil_level", "Lubricant level", "%", u16_(1), (74.0, 72.0, 2.0, 0.1)),
    ],
    flags: [
        ("door_closed", "Door closed", Flag::NotInSetup),
        ("coolant_on", "Coolant on", Flag::Running),
        ("chip_conveyor_on", "Chip conveyor on", Flag::Mostly),
    ],
    program: ("program", "Program", &["O1001 HOUSING", "O1002 BRACKET", "O2040 FLANGE"]),
    seconds_per_part: 48,
    running_kw: 11.5,
    low_word_first: false,
};

pub(super) const LATHE: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("spindle_temperature", "Spindle temperature", "Cel", i16_(1), (27.0, 51.0, 4.0, 0.4)),
            High,
            75.0,
            2.0,
            "Spindle too hot: reduce speed",
        ),
        alarmed(
            analog("chuck_pressure", "Chuck pressure", "bar", i16_(2), (32.0, 34.0, 1.5, 0.15)),
            Low,
            22.0,
            1.0,
            "Chuck pressure low: workpiece may come loose",
        ),
    ],
    analogs: [
        analog("spindle_speed", "Spindle speed", "/min", u16_(0), (0.0, 3200.0, 250.0, 15.0)),
        analog("spindle_torque", "Spindle torque", "N.m", f32_(2), (0.0, 96.0, 18.0, 3.0)),
        analog("feed_rate", "Feed rate", "mm/min", u16_(0), (0.0, 420.0, 60.0, 6.0)),
        analog("vibration", "Vibration", "mm/s", f32_(3), (0.1, 1.7, 0.4, 0.1)),
        analog("active_power", "Active power", "kW", u16_(2), (1.1, 8.8, 1.5, 0.25)),
        analog("axis_x_position", "X axis position", "mm", i32_(3), (120.0, 45.0, 25.0, 0.02)),
        analog("axis_z_position", "Z axis position", "mm", i32_(3), (0.0, -210.0, 140.0, 0.02)),
        analog("coolant_flow", "Coolant flow", "L/min", u16_(1), (0.0, 24.0, 2.0, 0.4)),
        analog("hydraulic_temperature", "Hydraulic oil temperature", "Cel", i16_(1), (33.0, 44.0, 2.0, 0.2)),
    ],
    flags: [
        ("door_closed", "Door closed", Flag::NotInSetup),
        ("chuck_clamped", "Chuck clamped", Flag::Running),
        ("bar_feeder_ready", "Bar feeder ready", Flag::Mostly),
    ],
    program: ("program", "Program", &["SHAFT 20X180", "BUSHING 35", "PIN 8X60"]),
    seconds_per_part: 32,
    running_kw: 8.8,
    low_word_first: true,
};

pub(super) const ROBOT_CELL: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog(
                "axis_2_motor_temperature",
                "Axis 2 motor temperature",
                "Cel",
                i16_(1),
                (31.0, 58.0, 5.0, 0.5),
            ),
            High,
            85.0,
            2.0,
            "Axis 2 motor too hot: check brake and load",
        ),
        alarmed(
            analog("gripper_vacuum", "Gripper vacuum", "kPa", i16_(1), (62.0, 66.0, 3.0, 0.6)),
            Low,
            45.0,
            2.0,
            "Gripper vacuum low: part may drop",
        ),
    ],
    analogs: [
        analog("axis_1_position", "Axis 1 position", "deg", i32_(2), (0.0, 10.0, 85.0, 0.05)),
        analog("axis_2_position", "Axis 2 position", "deg", i32_(2), (-90.0, -55.0, 30.0, 0.05)),
        analog("axis_3_position", "Axis 3 position", "deg", i32_(2), (90.0, 70.0, 40.0, 0.05)),
        analog("axis_1_torque", "Axis 1 torque", "%", i16_(1), (0.0, 22.0, 18.0, 3.0)),
        analog("axis_2_torque", "Axis 2 torque", "%", i16_(1), (18.0, 41.0, 15.0, 3.0)),
        analog("tool_speed", "Tool speed", "mm/s", f32_(1), (0.0, 780.0, 160.0, 15.0)),
        analog("payload", "Payload", "kg", u16_(2), (1.2, 6.8, 0.6, 0.03)),
        analog("active_power", "Active power", "kW", u16_(2), (0.4, 2.6, 0.5, 0.1)),
        analog("cabinet_temperature", "Cabinet temperature", "Cel", i16_(1), (27.0, 34.0, 1.5, 0.2)),
    ],
    flags: [
        ("gate_closed", "Gate closed", Flag::NotInSetup),
        ("gripper_closed", "Gripper closed", Flag::Mostly),
        ("drives_on", "Drives on", Flag::Running),
    ],
    program: ("program", "Program", &["PICK_PLACE_A", "PICK_PLACE_B", "DEBURR_4"]),
    seconds_per_part: 14,
    running_kw: 2.6,
    low_word_first: true,
};
