//! Where an output can go that is no machine: a neighbour's web server, or a program of this gateway.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::OutputError;

/// The address of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

/// The longest address. Servers take about as much.
const URL_BYTES_MAX: usize = 2_048;

impl WebhookUrl {
    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// A name or an IP address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for WebhookUrl {
    type Err = OutputError;

    fn from_str(text: &str) -> Result<Self, OutputError> {
        let refuse = |problem| OutputError::Url { problem };
        if text.len() > URL_BYTES_MAX || !text.chars().all(|c| c.is_ascii_graphic() && c != '#') {
            return Err(refuse("an address has at most 2048 ASCII characters, no blanks and no '#'"));
        }
        let (is_secure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) | None => return Err(refuse("the scheme is neither http nor https")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(refuse("names and passwords do not belong into an address"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| refuse("host or port is not valid"))?;
        let port = port.unwrap_or(if is_secure { 443 } else { 80 });
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_secure, host: host.to_owned(), port, path })
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            ((1..=253).contains(&host.len()) && host.chars().all(is_name)).then_some(())?;
            (host, rest)
        }
    };
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|p| *p != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// How far an output may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Loopback, private and link-local addresses.
    Local,
    /// Everywhere.
    Anywhere,
}

/// Whether an address is loopback, private (RFC 1918, RFC 4193) or link-local.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// A web server that is told what an output is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    url: WebhookUrl,
    ca_file: Option<PathBuf>,
    reach: Reach,
    timeout: Duration,
}

impl WebhookTarget {
    /// A server at `url`. `ca_file` holds the authority of its certificate. What a name stands for is
    /// held against `reach` when the connection is made.
    ///
    /// # Errors
    /// The address lies beyond `reach`; https without an authority, or an authority without https.
    pub fn new(
        url: WebhookUrl,
        ca_file: Option<PathBuf>,
        reach: Reach,
        timeout: Duration,
    ) -> Result<Self, OutputError> {
        let is_beyond = |ip: IpAddr| reach == Reach::Local && !is_local(ip);
        if url.host.parse().is_ok_and(is_beyond) {
            return Err(OutputError::Public { host: url.host });
        }
        let problem = match (url.is_secure, &ca_file) {
            (true, None) => {
                Some("is missing; https needs the file of the authority that signed the server's certificate")
            }
            (false, Some(_)) => Some("has no effect without https; write the address with https"),
            (true, Some(_)) | (false, None) => None,
        };
        match problem {
            Some(problem) => Err(OutputError::Authority { problem }),
            None => Ok(Self { url, ca_file, reach, timeout }),
        }
    }

    /// Its address.
    #[must_use]
    pub const fn url(&self) -> &WebhookUrl {
        &self.url
    }

    /// The authority of its certificate; always there with https.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// How far away it may be.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// What a request may take, from the look-up of the name to the answer.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// A program and its arguments, all of them fixed. There is no shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    program: PathBuf,
    arguments: Vec<String>,
}

impl CommandLine {
    /// The most arguments, and the longest, in bytes. A horn needs few.
    pub const ARGUMENTS_MAX: usize = 32;
    const ARGUMENT_BYTES_MAX: usize = 1_024;

    /// From the absolute path of a program and its arguments.
    ///
    /// # Errors
    /// There is no absolute path, there are too many arguments, or one is too long or holds a NUL.
    pub fn new(words: &[String]) -> Result<Self, OutputError> {
        let refuse = |problem: String| Err(OutputError::Command { problem });
        let Some((program, arguments)) = words.split_first() else {
            return refuse(
                "is empty; the absolute path of a program and its arguments are needed".to_owned(),
            );
        };
        if !program.starts_with('/') {
            return refuse(format!(
                "{program:?} is no absolute path; programs are not searched for, write where it lies, such as \
                 \"/usr/local/bin/horn\""
            ));
        }
        if arguments.len() > Self::ARGUMENTS_MAX {
            return refuse(format!(
                "has {} arguments; at most {} are allowed",
                arguments.len(),
                Self::ARGUMENTS_MAX
            ));
        }
        if words.iter().any(|w| w.len() > Self::ARGUMENT_BYTES_MAX || w.contains('\0')) {
            return refuse(format!("a word has more than {} bytes or holds a NUL", Self::ARGUMENT_BYTES_MAX));
        }
        Ok(Self { program: program.into(), arguments: arguments.to_vec() })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (text, parts) in [
            ("http://10.0.0.5", (false, "10.0.0.5", 80, "/")),
            ("https://scada.plant.example/hooks/a?b=c", (true, "scada.plant.example", 443, "/hooks/a?b=c")),
            ("http://[fd00::5]:8080/x", (false, "fd00::5", 8080, "/x")),
            ("http://host?x=1", (false, "host", 80, "/?x=1")),
        ] {
            let url: WebhookUrl = text.parse().expect(text);
            assert_eq!((url.is_secure(), url.host(), url.port(), url.path()), parts, "{text}");
        }
        assert_eq!("http://[fd00::5]/".parse::<WebhookUrl>().expect("valid").authority(), "[fd00::5]:80");
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for bad in [
            "",
            "ftp://a/",
            "http://",
            "http://a b/",
            "http://u:p@a/",
            "http://a:0/",
            "http://a:99999/",
            "http://a/#x",
            "http://[fd00::5/",
            "http://[a]/",
            "http://[fd00::5]x/",
            "http://ä/",
            "http://a:/",
            "10.0.0.5",
        ] {
            assert!(bad.parse::<WebhookUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_outside_the_plant_need_leave() {
        let target = |url: &str, reach| {
            let timeout = Duration::from_secs(1);
            WebhookTarget::new(url.parse().expect("valid"), None, reach, timeout).map(|_| ())
        };
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.31.0.1",
            "169.254.1.1",
            "[::1]",
            "[fd00::1]",
            "name",
        ] {
            assert_eq!(target(&format!("http://{local}/"), Reach::Local), Ok(()), "{local}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]", "0.0.0.0"] {
            let url = format!("http://{public}/");
            assert!(matches!(target(&url, Reach::Local), Err(OutputError::Public { .. })), "{public}");
            assert_eq!(target(&url, Reach::Anywhere), Ok(()), "{public}");
        }
    }

    #[test]
    fn https_and_its_authority_belong_together() {
        let target = |url: &str, ca: Option<&str>| {
            let timeout = Duration::from_secs(1);
            WebhookTarget::new(url.parse().expect("valid"), ca.map(PathBuf::from), Reach::Local, timeout)
        };
        assert!(target("https://a/", None).is_err() && target("http://a/", Some("ca.crt")).is_err());
        assert!(target("https://a/", Some("ca.crt")).is_ok());
    }

    #[test]
    fn a_command_is_an_absolute_path_with_fixed_arguments() {
        let line =
            |words: &[&str]| CommandLine::new(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert!(line(&["/usr/bin/horn", "on; rm -rf /"]).is_ok(), "no shell reads it");
        for bad in [&[][..], &["horn"], &["./horn"], &["/bin/a", "\0"], &["/bin/a"; 34]] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
    }
}
