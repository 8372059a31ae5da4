//! Arguments of the OPC UA tools.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A server and how it is entered: by options, or as a machine file has it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OpcUaTarget {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long, required_unless_present = "machine")]
    pub endpoint: Option<String>,
    /// A machine of the configuration, instead of an address: with its address, protection, trusted
    /// certificates and user.
    #[arg(long, conflicts_with_all = ["endpoint", "security_policy", "security_mode", "server_certificate_file", "trust_dir", "user", "password_file"])]
    pub machine: Option<String>,
    /// Folder of the configuration, for --machine.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// The protection. Nothing less is ever used; without this option there is none.
    #[arg(long, value_name = "POLICY")]
    pub security_policy: Option<PolicyName>,
    /// What the protection does.
    #[arg(long, value_name = "MODE", requires = "security_policy")]
    pub security_mode: Option<ModeName>,
    /// The certificate that the server must show.
    #[arg(long, value_name = "FILE", requires = "security_policy", conflicts_with = "trust_dir")]
    pub server_certificate_file: Option<PathBuf>,
    /// A folder of trusted certificates, of servers or of authorities.
    #[arg(long, value_name = "DIR", requires = "security_policy")]
    pub trust_dir: Option<PathBuf>,
    /// Who logs in; without this option, nobody: the session is anonymous.
    #[arg(long, requires = "password_file")]
    pub user: Option<String>,
    /// A file that holds the password, and only that.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// The agent's own certificate: the folder opcua/ beside its buffer. Without this option a
    /// certificate is made for this one look, which a server that examines its clients refuses.
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,
}

/// Policies, as the configuration names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    /// No protection.
    #[value(name = "none")]
    None,
    /// `Basic256Sha256`.
    #[value(name = "basic256sha256")]
    Basic256Sha256,
    /// `Aes128_Sha256_RsaOaep`.
    #[value(name = "aes128_sha256_rsa_oaep")]
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`.
    #[value(name = "aes256_sha256_rsapss")]
    Aes256Sha256RsaPss,
}

/// Modes, as the configuration names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Nobody can change messages; everybody can read them.
    #[value(name = "sign")]
    Sign,
    /// Nobody can change or read messages.
    #[value(name = "sign_and_encrypt")]
    SignAndEncrypt,
}

#[derive(Debug, Args)]
pub(crate) struct ReadOpcUaArguments {
    #[command(flatten)]
    pub target: OpcUaTarget,
    /// The node, for example `ns=2;s=Temperature` or `nsu=urn:vendor:machine;i=7`.
    #[arg(long)]
    pub node: String,
    /// What its values are.
    #[arg(long, default_value = "float")]
    pub data_type: TypeName,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BrowseOpcUaArguments {
    #[command(flatten)]
    pub target: OpcUaTarget,
    /// The node to begin with; the folder Objects if there is none.
    #[arg(long)]
    pub under: Option<String>,
    /// End after so many nodes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Print variables as ready [[tags]] of a machine file.
    #[arg(long)]
    pub tags: bool,
    /// Print one JSON object for each node.
    #[arg(long, conflicts_with = "tags")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOpcUaArguments {
    #[command(flatten)]
    pub target: OpcUaTarget,
    /// Write the certificate that the server shows to this file, to be compared and trusted; the file
    /// must not exist.
    #[arg(long, value_name = "FILE")]
    pub save_certificate: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The types of tags.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TypeName {
    /// Yes or no.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Characters.
    Text,
}

impl From<TypeName> for plant_model::DataType {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::Bool => Self::Bool,
            TypeName::Int => Self::Int,
            TypeName::Float => Self::Float,
            TypeName::Text => Self::Text,
        }
    }
}
