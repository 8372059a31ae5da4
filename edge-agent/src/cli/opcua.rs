//! Arguments of the OPC UA tools.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct ReadOpcUaArguments {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
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
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
    /// The node to begin with; the folder Objects if there is none.
    #[arg(long)]
    pub under: Option<String>,
    /// Print variables as ready [[tags]] of a machine file.
    #[arg(long)]
    pub config: bool,
    /// Print one JSON object for each node.
    #[arg(long, conflicts_with = "config")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOpcUaArguments {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
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
