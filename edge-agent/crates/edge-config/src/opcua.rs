//! The OPC UA part of a machine file: `[opcua]`, and what a tag says about its node.

use acquisition::{
    AcquisitionMode, Deadband, NodeReference, OpcUaConnection, OpcUaItem, OpcUaSecurity, OpcUaUser,
    SecurityMode, SecurityPolicy, ServerTrust,
};
use plant_model::DataType;

use crate::section::Section;

const POLICIES: [(&str, Option<SecurityPolicy>); 4] = [
    ("none", None),
    (SecurityPolicy::Basic256Sha256.name(), Some(SecurityPolicy::Basic256Sha256)),
    (SecurityPolicy::Aes128Sha256RsaOaep.name(), Some(SecurityPolicy::Aes128Sha256RsaOaep)),
    (SecurityPolicy::Aes256Sha256RsaPss.name(), Some(SecurityPolicy::Aes256Sha256RsaPss)),
];

const SECURITY_MODES: [(&str, Option<SecurityMode>); 3] = [
    ("none", None),
    (SecurityMode::Sign.name(), Some(SecurityMode::Sign)),
    (SecurityMode::SignAndEncrypt.name(), Some(SecurityMode::SignAndEncrypt)),
];

const MODES: [(&str, AcquisitionMode); 3] = [
    ("auto", AcquisitionMode::Auto),
    ("subscribe", AcquisitionMode::Subscribe),
    ("poll", AcquisitionMode::Poll),
];

/// Reads `[opcua]`.
pub(crate) fn connection(section: &mut Section<'_>, items: Vec<OpcUaItem>) -> Option<OpcUaConnection> {
    let endpoint = section.required_text("endpoint", "an address such as opc.tcp://192.168.0.10:4840");
    let sampling = section.millis("sampling_interval_ms", 0..=60_000, 100);
    let publishing = section.millis("publishing_interval_ms", 10..=60_000, 100);
    let mode = section.choice("mode", &MODES).unwrap_or_default();
    let security = security(section);
    let user = user(section);
    if items.is_empty() {
        return None;
    }
    let connection = OpcUaConnection::new(endpoint?, sampling, publishing, items)
        .map_err(|error| section.problem("endpoint", error.to_string()))
        .ok()?
        .with_mode(mode)
        .with_security(security?);
    Some(match user? {
        Some(user) => connection.with_user(user),
        None => connection,
    })
}

fn security(section: &mut Section<'_>) -> Option<OpcUaSecurity> {
    let policy = match (section.has("security_policy"), section.choice("security_policy", &POLICIES)) {
        (true, chosen) => chosen?,
        (false, _) => None,
    };
    let mode = match (section.has("security_mode"), section.choice("security_mode", &SECURITY_MODES)) {
        (true, chosen) => Some(chosen?),
        (false, _) => None,
    };
    let trust = trust(section);
    match (policy, mode) {
        (None, None | Some(None)) => unprotected(section),
        (None, Some(Some(_))) => {
            section.problem("security_mode", "needs a security_policy other than none");
            None
        }
        (Some(_), Some(None)) => {
            section.problem(
                "security_mode",
                "is none, which the security_policy contradicts; use sign_and_encrypt",
            );
            None
        }
        (Some(policy), mode) => {
            let mode = mode.flatten().unwrap_or(SecurityMode::SignAndEncrypt);
            Some(OpcUaSecurity::Protected { policy, mode, trust: trust? })
        }
    }
}

/// A certificate that nobody looks at would be false comfort.
fn unprotected(section: &mut Section<'_>) -> Option<OpcUaSecurity> {
    for key in ["server_certificate_file", "trust_dir"] {
        if section.has(key) {
            section.problem(
                key,
                "has no effect without a security_policy; choose one, for example basic256sha256",
            );
            return None;
        }
    }
    Some(OpcUaSecurity::None)
}

fn trust(section: &mut Section<'_>) -> Option<ServerTrust> {
    let file = section.text("server_certificate_file");
    let folder = section.text("trust_dir");
    match (file, folder) {
        (Some(file), None) => Some(ServerTrust::Certificate(file.into())),
        (None, Some(folder)) => Some(ServerTrust::Folder(folder.into())),
        (Some(_), Some(_)) => {
            section.problem(
                "trust_dir",
                "one of server_certificate_file and trust_dir is enough; leave one out",
            );
            None
        }
        (None, None) => {
            if section.has("security_policy") && section.text("security_policy") != Some("none") {
                section.problem(
                    "server_certificate_file",
                    "is missing; the file of the server's certificate, or trust_dir, is needed. The file need \
                     not exist yet: the first connection keeps what the server shows, to be copied there",
                );
            }
            None
        }
    }
}

fn user(section: &mut Section<'_>) -> Option<Option<OpcUaUser>> {
    let name = section.text("user");
    let password_file = section.text("password_file");
    match (name, password_file) {
        (None, None) => Some(None),
        (Some(name), Some(file)) => {
            Some(Some(OpcUaUser { name: name.to_owned(), password_file: file.into() }))
        }
        (Some(_), None) => {
            section.problem(
                "password_file",
                "is missing; the path of a file with the user's password is needed",
            );
            None
        }
        (None, Some(_)) => {
            section.problem("user", "is missing; the name that belongs to password_file is needed");
            None
        }
    }
}

/// Reads the node of a tag.
pub(crate) fn item(section: &mut Section<'_>, data_type: Option<DataType>) -> Option<OpcUaItem> {
    let node: Option<NodeReference> =
        section.parsed("node_id", "a node such as nsu=urn:vendor:machine;s=Temperature");
    let has_deadband = section.has("deadband");
    let deadband = section.table("deadband", deadband);
    if has_deadband {
        deadband?;
    }
    Some(OpcUaItem { deadband, ..OpcUaItem::new(node?, data_type?) })
}

fn deadband(section: &mut Section<'_>) -> Option<Deadband> {
    let absolute = section.number("absolute");
    let percent = section.number("percent");
    match (absolute, percent) {
        (Some(size), None) if size > 0.0 => Some(Deadband::Absolute(size)),
        (None, Some(size)) if size > 0.0 && size <= 100.0 => Some(Deadband::Percent(size)),
        (Some(_), None) => {
            section.problem("absolute", "must be more than zero; leave the deadband out to get every change");
            None
        }
        (None, Some(_)) => {
            section.problem("percent", "must be more than zero and at most 100");
            None
        }
        (Some(_), Some(_)) => {
            section.problem("percent", "a deadband is absolute or percent; leave one out");
            None
        }
        (None, None) => {
            section.problem("absolute", "is missing; a deadband is { absolute = 0.5 } or { percent = 1 }");
            None
        }
    }
}
