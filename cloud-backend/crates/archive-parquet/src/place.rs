//! Where the archive is: an object store by its URI.
//!
//! `file:///var/lib/…`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`. After a `?` there may be
//! `endpoint`, `region` and `allow_http` (of stores that speak S3) and `storage_class`. Credentials come from the environment
//! (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or from the machine's role, never from the URI; no message shows them.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use thiserror::Error;
use url::Url;

/// Why there is no archive.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The URI is none, or of another kind.
    #[error(
        "the archive's URI {uri} is not possible: {detail}; allowed are file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix"
    )]
    Uri {
        /// It, without what follows a question mark.
        uri: String,
        /// What is wrong.
        detail: String,
    },
    /// The object store does not take these settings.
    #[error("the archive {uri} cannot be used with these settings and this environment")]
    Settings {
        /// It, without what follows a question mark.
        uri: String,
        /// Why.
        #[source]
        cause: object_store::Error,
    },
}

/// An object store and what lies before each path.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    pub(crate) storage_class: Option<String>,
}

/// What may follow the question mark.
const SETTINGS: [&str; 4] = ["endpoint", "region", "allow_http", "storage_class"];

impl Place {
    pub(crate) fn of(
        uri: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PlaceError> {
        let shown = uri.split_once('?').map_or(uri, |(before, _)| before).to_owned();
        let wrong = |detail: String| PlaceError::Uri { uri: without_password(&shown), detail };
        let mut url = Url::parse(uri).map_err(|error| wrong(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("credentials belong into the environment".to_owned()));
        }
        let settings: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        if let Some((name, _)) = settings.iter().find(|(name, _)| !SETTINGS.contains(&name.as_str())) {
            return Err(wrong(format!("{name} is no setting; there are {}", SETTINGS.join(", "))));
        }
        url.set_query(None);
        let class = settings.iter().find(|(name, _)| name == "storage_class").map(|(_, class)| class.clone());
        let settings: Vec<_> = settings.into_iter().filter(|(name, _)| name != "storage_class").collect();
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let made = match url.scheme() {
            "file" => return Self::folder(&url, class).map_err(wrong),
            "s3" => s3(&url, &environment, &settings),
            "gs" => gcs(&url, &environment, &settings),
            "az" => azure(&url, &environment, &settings),
            other => return Err(wrong(format!("{other} is no kind of object store"))),
        };
        let store = made.map_err(|cause| PlaceError::Settings { uri: shown.clone(), cause })?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { store, prefix, storage_class: class })
    }

    fn folder(url: &Url, storage_class: Option<String>) -> Result<Self, String> {
        if storage_class.is_some() {
            return Err("a folder has no storage_class".to_owned());
        }
        let folder = url.to_file_path().map_err(|()| "the folder has to begin with /".to_owned())?;
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| error.to_string())?;
        let store = store.with_automatic_cleanup(true).with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: Path::default(), storage_class })
    }
}

fn without_password(uri: &str) -> String {
    match (uri.split_once("://"), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => uri.to_owned(),
    }
}

/// A link that fails is tried again for a while; after that the caller decides.
fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 4, retry_timeout: Duration::from_secs(60) }
}

type Made = Result<Arc<dyn ObjectStore>, object_store::Error>;

/// A builder with what the environment and the URI say of it; other names are not looked at.
macro_rules! built {
    ($builder:ty, $prefix:literal, $url:expr, $environment:expr, $settings:expr) => {{
        let own = $environment.iter().filter(|(name, _)| name.starts_with($prefix));
        let named = own
            .chain($settings)
            .filter_map(|(name, value)| name.to_ascii_lowercase().parse().ok().map(|key| (key, value)));
        let builder = <$builder>::new().with_url($url.as_str()).with_retry(retry());
        named.fold(builder, |builder, (key, value)| builder.with_config(key, value)).build()
    }};
}

fn s3(url: &Url, environment: &[(String, String)], settings: &[(String, String)]) -> Made {
    Ok(Arc::new(built!(AmazonS3Builder, "AWS_", url, environment, settings)?))
}

fn gcs(url: &Url, environment: &[(String, String)], settings: &[(String, String)]) -> Made {
    Ok(Arc::new(built!(GoogleCloudStorageBuilder, "GOOGLE_", url, environment, settings)?))
}

fn azure(url: &Url, environment: &[(String, String)], settings: &[(String, String)]) -> Made {
    Ok(Arc::new(built!(MicrosoftAzureBuilder, "AZURE_", url, environment, settings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Place, PlaceError> {
        let environment = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("PATH", "/bin")];
        crate::use_ring();
        Place::of(uri, environment.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn each_kind_of_object_store_has_its_uri() {
        let s3 = of("s3://bucket/a/b?region=eu-central-1&storage_class=GLACIER_IR").expect("s3");
        assert_eq!(s3.prefix.as_ref(), "a/b");
        assert_eq!(s3.storage_class.as_deref(), Some("GLACIER_IR"));
        assert!(!format!("{s3:?}").contains("hush"), "a secret is never shown");
        let folder = tempfile::tempdir().expect("a folder");
        let uri = format!("file://{}/archive", folder.path().display());
        assert_eq!(of(&uri).expect("a folder").prefix.as_ref(), "");
        assert!(folder.path().join("archive").is_dir());
    }

    #[test]
    fn what_is_no_archive_is_refused_and_shows_no_secret() {
        for uri in [
            "bucket",
            "ftp://host/x",
            "s3://id:hush@bucket/x",
            "s3://bucket/x?secret_access_key=hush",
            "file://relative/x",
            "file:///tmp/x?storage_class=COLD",
        ] {
            let refused = of(uri).expect_err(uri);
            assert!(matches!(refused, PlaceError::Uri { .. }), "{refused:?}");
            assert!(!format!("{refused:?} {refused}").contains("hush"), "{refused}");
        }
    }
}
