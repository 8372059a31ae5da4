//! The endpoint over real TCP and TLS 1.3: with `rumqttc` as a gateway, and with bare bytes as whatever
//! else may call.

mod delivery;
mod limits;
mod strangers;
mod support;
