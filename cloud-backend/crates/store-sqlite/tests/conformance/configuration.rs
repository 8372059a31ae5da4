//! Configurations of gateways and their reports.

use plant_model::{GatewayId, TenantId};
use protocol::*;
use tenancy::*;

use super::Laboratory;
use super::fixture::*;

fn version(number: u32) -> ConfigurationVersion {
    ConfigurationVersion::new(number).expect("above 0")
}

fn files(text: &str) -> ConfigurationFiles {
    ConfigurationFiles::new([("press-1.toml", text.to_owned())]).expect("a file")
}

fn new(replaces: Option<u32>, text: &str) -> NewConfiguration {
    NewConfiguration {
        tenant: tenant(),
        gateway: gateway(),
        replaces: replaces.map(version),
        files: files(text),
        accept_drift: None,
        restores: None,
        author: "anna".to_owned(),
        comment: format!("because of {text}"),
        created_at: at(1),
    }
}

fn report(state: ConfigurationState, detail: &str) -> ReceivedReport {
    let report = ConfigurationReport {
        state,
        version: Some(version(1)),
        applied: None,
        detail: detail.to_owned(),
        drift: vec![DriftedFile { file: "Mein Ofen.toml".to_owned(), change: DriftChange::Added }],
        files_digest: FilesDigest([3; 32]),
        agent_version: "0.1.0".to_owned(),
    };
    ReceivedReport { report, received_at: at(7) }
}

async fn prepare(store: &impl TenancyStore) {
    add_tenant(store).await;
    store.add_gateway(tenant(), gateway()).await.expect("a new gateway");
}

async fn save(store: &impl ConfigurationStore, new: NewConfiguration) -> ConfigurationEntry {
    store.save_configuration(new).await.expect("works").expect("no conflict")
}

pub(crate) async fn versions_count_up_and_stay_as_they_were<L>(lab: &L)
where
    L: Laboratory<Store: ConfigurationStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let first = save(&*store, new(None, "one")).await;
    let restoring = NewConfiguration {
        accept_drift: Some(FilesDigest([9; 32])),
        restores: Some(version(1)),
        ..new(Some(1), "two")
    };
    let second = save(&*store, restoring).await;
    assert_eq!((first.version, second.version), (version(1), version(2)));
    drop(store);
    let store = lab.open();
    let (tenant, gateway) = (tenant(), gateway());
    let found = |number: Option<u32>| store.configuration(&tenant, &gateway, number.map(version));
    let old = StoredConfiguration { entry: first.clone(), files: files("one") };
    assert_eq!(found(Some(1)).await.expect("works"), Some(old));
    let newest = found(None).await.expect("works").expect("there is one");
    assert_eq!((&newest.entry, newest.files), (&second, files("two")));
    assert_eq!(newest.entry.accept_drift, Some(FilesDigest([9; 32])));
    assert_eq!(newest.entry.digest, files("two").digest());
    assert_eq!(found(Some(3)).await.expect("works"), None);
    let list = |before: Option<u32>| store.configurations(&tenant, &gateway, before.map(version), 10);
    assert_eq!(list(None).await.expect("works"), [second, first.clone()]);
    assert_eq!(list(Some(2)).await.expect("works"), [first]);
}

pub(crate) async fn of_two_who_edit_at_a_time_the_second_is_told<L>(lab: &L)
where
    L: Laboratory<Store: ConfigurationStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    save(&*store, new(None, "one")).await;
    let at_a_time = tokio::join!(
        store.save_configuration(new(Some(1), "by anna")),
        store.save_configuration(new(Some(1), "by bert"))
    );
    let outcomes = [at_a_time.0.expect("works"), at_a_time.1.expect("works")];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let told = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    assert_eq!(told, Some(&ConfigurationConflict { newest: Some(version(2)) }));
    let late = store.save_configuration(new(None, "x")).await.expect("works");
    assert_eq!(late, Err(ConfigurationConflict { newest: Some(version(2)) }));
    let other = NewConfiguration { gateway: GatewayId::new("gw-9").expect("valid"), ..new(None, "x") };
    let unknown = store.save_configuration(other).await.expect_err("no such gateway");
    assert!(matches!(unknown, StoreError::NotFound { kind: "gateway", .. }), "{unknown:?}");
}

pub(crate) async fn each_gateway_stands_where_its_last_report_says<L>(lab: &L)
where
    L: Laboratory<Store: ConfigurationStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let other = GatewayId::new("gw-2").expect("valid");
    store.add_gateway(tenant(), other.clone()).await.expect("new");
    let entry = save(&*store, new(None, "one")).await;
    for (state, detail) in [(ConfigurationState::Trial, "tries"), (ConfigurationState::RolledBack, "gave up")]
    {
        let said = report(state, detail);
        store.save_configuration_report(tenant(), gateway(), said).await.expect("works");
    }
    drop(store);
    let store = lab.open();
    let said = report(ConfigurationState::RolledBack, "gave up");
    let standing = ConfigurationStanding { desired: Some(entry), received: Some(said) };
    let nothing = ConfigurationStanding { desired: None, received: None };
    let all = store.configuration_standings(&tenant()).await.expect("works");
    assert_eq!(all, [(gateway(), standing.clone()), (other.clone(), nothing)]);
    let one = store.configuration_standing(&tenant(), &gateway()).await.expect("works");
    assert_eq!(one, Some(standing));
    let nobody = TenantId::new("nobody").expect("valid");
    assert_eq!(store.configuration_standing(&nobody, &gateway()).await.expect("works"), None);
    assert_eq!(store.configuration(&nobody, &gateway(), None).await.expect("works"), None);
    let said = report(ConfigurationState::Trial, "");
    let unknown = store.save_configuration_report(nobody, gateway(), said).await.expect_err("unknown");
    assert!(matches!(unknown, StoreError::NotFound { kind: "gateway", .. }), "{unknown:?}");
}

pub(crate) async fn the_newest_version_of_each_gateway_that_has_one_is_told_and_no_other_tenants<L>(lab: &L)
where
    L: Laboratory<Store: ConfigurationStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let bare = GatewayId::new("gw-bare").expect("valid");
    store.add_gateway(tenant(), bare).await.expect("a new gateway");
    assert_eq!(store.newest_configurations(&tenant()).await.expect("works"), []);
    save(&*store, new(None, "one")).await;
    save(&*store, new(Some(1), "two")).await;
    let newest = store.newest_configurations(&tenant()).await.expect("works");
    assert_eq!(newest, [(gateway(), version(2))]);
    let nobody = TenantId::new("nobody").expect("valid");
    assert_eq!(store.newest_configurations(&nobody).await.expect("works"), []);
}
