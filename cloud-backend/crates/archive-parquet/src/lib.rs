//! The archive: objects in the format of Parquet, in a folder or an object store.
//!
//! An object lies at `<prefix>/<tenant>/<path>`. What is in it is told in [`layout`](self#columns); what a reader has to know
//! beforehand, so that it needs one or two requests for a tag and a day, is the directory ([`tiering::ObjectRow::directory`]).
//!
//! # Encryption
//!
//! With [`ParquetArchive::with_keys`], objects are encrypted by Parquet's own scheme (modular encryption, AES-256-GCM, footer
//! included), each with a key of its own that [`ObjectKeys`] gives. What [`ObjectKeys`] wants written beside the object is
//! the key metadata of the footer. The path is the AAD prefix, and written in the object: an object that was moved to
//! another path, or of which a page was replaced, cannot be opened. Objects that were written without keys stay readable.
//!
//! # Columns
//!
#![doc = include_str!("../COLUMNS.md")]

mod days;
mod decode;
mod encode;
mod error;
mod index;
mod layout;
mod machine;
mod object;
mod place;
mod read;
mod sparse;
mod write;

use std::ops::Range;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::path::{Path, PathPart};
use object_store::{Attribute, ObjectStoreExt as _};
use plant_model::{MachineId, TenantId, Timestamp};
use tiering::{
    Archive, ArchiveError, ArchiveFuture, Contents, MachineSource, ObjectKeys, ObjectQuery, ObjectRow,
    ObjectSamples, ObjectWriter, ReadCost, StoredObject, Written,
};

pub use place::PlaceError;

use error::{damaged, of_store};
use place::Place;
use read::Reader;
use write::{Sender, Upload};

/// The archive of all tenants.
pub struct ParquetArchive {
    place: Place,
    keys: Option<Arc<dyn ObjectKeys>>,
}

impl ParquetArchive {
    /// Opens the archive at a URI, with credentials out of these variables of the environment. Nothing is asked yet.
    ///
    /// # Errors
    /// The URI is none of an archive, or the settings do not fit.
    pub fn open(
        uri: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PlaceError> {
        use_ring();
        Ok(Self { place: Place::of(uri, environment)?, keys: None })
    }

    /// Encrypts what is written from now on.
    #[must_use]
    pub fn with_keys(self, keys: Arc<dyn ObjectKeys>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    fn tenant_path(&self, tenant: &TenantId) -> Path {
        self.place.prefix.clone().join(PathPart::from(tenant.as_str()))
    }

    fn object_path(&self, tenant: &TenantId, path: &str) -> Path {
        path.split('/').fold(self.tenant_path(tenant), |at, part| at.join(PathPart::from(part)))
    }

    fn reader<'a>(&'a self, tenant: &'a TenantId, path: &'a str) -> Reader<'a> {
        Reader {
            store: &*self.place.store,
            keys: self.keys.as_deref(),
            tenant,
            place: self.object_path(tenant, path),
            path,
            cost: ReadCost::default(),
        }
    }

    async fn begin(
        &self,
        tenant: &TenantId,
        path: &str,
        days: Range<Timestamp>,
    ) -> Result<Box<dyn ObjectWriter>, ArchiveError> {
        let key = match &self.keys {
            Some(keys) => Some(keys.create(tenant, path).await?),
            None => None,
        };
        let class = self.place.storage_class.clone().map(|class| (Attribute::StorageClass, class));
        let sender = Sender {
            store: Arc::clone(&self.place.store),
            place: self.object_path(tenant, path),
            path: path.to_owned(),
            attributes: class.into_iter().collect(),
            parts: None,
            cost: ReadCost::default(),
        };
        Ok(Box::new(Upload::new(sender, days, key.as_ref())?))
    }

    async fn contents_of(&self, tenant: &TenantId, object: &ObjectRow) -> Result<Contents, ArchiveError> {
        let (_, opened) = self.reader(tenant, &object.path).open_directory(&object.directory).await?;
        opened.index.contents().map_err(|detail| damaged(&object.path, &detail))
    }

    async fn delete_object(&self, tenant: &TenantId, path: &str) -> Result<(), ArchiveError> {
        match self.place.store.delete(&self.object_path(tenant, path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_store(path, error)),
        }
    }

    async fn list_objects(&self, tenant: &TenantId) -> Result<Vec<StoredObject>, ArchiveError> {
        let root = self.tenant_path(tenant);
        let entries = self.place.store.list(Some(&root)).map_err(|error| of_store(tenant.as_str(), error));
        let objects = entries.map_ok(|entry| StoredObject {
            path: entry
                .location
                .prefix_match(&root)
                .map_or_else(|| entry.location.to_string(), |parts| Path::from_iter(parts).to_string()),
            bytes: entry.size,
            modified_at: entry.last_modified.into(),
        });
        let mut objects: Vec<StoredObject> = objects.try_collect().await?;
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }
}

impl std::fmt::Debug for ParquetArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetArchive").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Archive for ParquetArchive {
    fn create<'a>(
        &'a self,
        tenant: &'a TenantId,
        path: &'a str,
        days: Range<Timestamp>,
    ) -> ArchiveFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(self.begin(tenant, path, days))
    }

    fn verify<'a>(&'a self, tenant: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Written> {
        Box::pin(self.reader(tenant, &object.path).verify(object.start..object.end))
    }

    fn read<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: &'a ObjectRow,
        query: ObjectQuery,
    ) -> ArchiveFuture<'a, ObjectSamples> {
        Box::pin(self.reader(tenant, &object.path).samples(&object.directory, query))
    }

    fn machine<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: &'a ObjectRow,
        machine: &'a MachineId,
    ) -> ArchiveFuture<'a, Option<Box<dyn MachineSource>>> {
        Box::pin(self.reader(tenant, &object.path).machine(&object.directory, machine))
    }

    fn contents<'a>(&'a self, tenant: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Contents> {
        Box::pin(self.contents_of(tenant, object))
    }

    fn delete<'a>(&'a self, tenant: &'a TenantId, path: &'a str) -> ArchiveFuture<'a, ()> {
        Box::pin(self.delete_object(tenant, path))
    }

    fn list<'a>(&'a self, tenant: &'a TenantId) -> ArchiveFuture<'a, Vec<StoredObject>> {
        Box::pin(self.list_objects(tenant))
    }
}

/// The HTTP client of the object store takes the process's provider of cryptography: that of all our TLS. Where somebody
/// set one before, that stays.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
