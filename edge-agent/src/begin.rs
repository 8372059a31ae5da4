//! The configuration that the agent begins with: the files, or the last one that ran well.
//!
//! A gateway is not to be down at night because of a power cut in the middle of an edit. A first start without a good
//! configuration is refused: nobody could tell what the gateway is for.

use std::sync::Arc;

use anyhow::Result;
use edge_config::{AgentConfig, Sources};
use service_kit::Clock;

use crate::cli::RunArguments;
use crate::configuration::{ConfigurationDesk, Origin};
use crate::floor::state_folder;
use crate::good_copy::GoodCopy;
use crate::remote;

/// The configuration that the agent begins with.
pub(crate) struct Begin {
    pub config: AgentConfig,
    sources: Sources,
    origin: Origin,
    /// What is wrong with the files, if it is another one.
    refused: Vec<String>,
    /// Where what runs well is kept.
    pub copy: Option<GoodCopy>,
}

impl Begin {
    /// Reads the files; if they are wrong, the copy of what ran well last.
    pub(crate) fn read(arguments: &RunArguments) -> Result<Self> {
        let sources = Sources::read(&arguments.config);
        let copy = GoodCopy::of_files(&arguments.config, arguments.state_folder.as_deref());
        let errors = match sources.config() {
            Ok(config) => {
                let copy = copy.or_else(|| Some(GoodCopy::in_folder(state_folder(&config))));
                return Ok(Self { config, sources, origin: Origin::Files, refused: Vec::new(), copy });
            }
            Err(errors) => errors,
        };
        if let Some((config, sources)) = remote::awaits_machines(&arguments.config) {
            return Ok(Self { config, sources, origin: Origin::Files, refused: Vec::new(), copy });
        }
        let kept = copy.as_ref().map(|copy| copy.load(&arguments.config));
        match kept {
            Some(Ok((config, sources))) => {
                let refused: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
                tracing::error!(problems = ?refused,
                    "the configuration is wrong: the last one that ran well is in use; mend the files and reload");
                Ok(Self { config, sources, origin: Origin::LastGood, refused, copy })
            }
            Some(Err(error)) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "there is no configuration that ran well before"
                );
                Err(errors.into())
            }
            None => Err(errors.into()),
        }
    }

    /// Knows this configuration as the one in use.
    pub(crate) fn desk(&self, clock: Clock) -> Arc<ConfigurationDesk> {
        let desk = ConfigurationDesk::new(self.sources.clone(), self.origin, clock.wall());
        if self.origin == Origin::LastGood {
            desk.refused(self.refused.clone(), clock.wall());
        }
        Arc::new(desk)
    }
}
