//! Tenants, users, sessions.

use fleet::FleetStore;
use plant_model::{TenantId, Timestamp};
use protocol::StreamId;
use tenancy::*;

use super::Laboratory;
use super::fixture::*;

fn user(name: &str, role: Role) -> User {
    User {
        name: UserName::new(name).expect("valid"),
        display_name: "Anna".to_owned(),
        role,
        password_hash: PasswordHash::from_phc("$argon2id$…".to_owned()),
    }
}

fn session(number: u8, created: i64) -> SessionRecord {
    SessionRecord {
        token_sha256: TokenDigest([number; 32]),
        user: UserName::new("anna").expect("valid"),
        created_at: Timestamp::from_micros(created),
        expires_at: Timestamp::from_micros(created + 100),
    }
}

pub(crate) async fn what_was_added_is_there_after_opening_again(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    store.add_gateway(tenant(), gateway()).await.expect("new");
    let anna = user("anna", Role::Manager { tenant: tenant() });
    store.add_user(anna.clone()).await.expect("new");
    store.add_session(session(1, 0)).await.expect("new");
    drop(store);
    let store = lab.open();
    assert_eq!(store.tenants().await.expect("works"), [Tenant { id: tenant(), name: "Acme".to_owned() }]);
    assert_eq!(store.registered_gateways(&tenant()).await.expect("works"), [gateway()]);
    assert_eq!(store.find_user(&anna.name).await.expect("works"), Some(anna.clone()));
    let found = store.find_session(TokenDigest([1; 32])).await.expect("works");
    assert_eq!(found, Some((session(1, 0), anna)));
}

pub(crate) async fn a_second_one_of_the_same_name_is_refused(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let tenant_again = store.add_tenant(Tenant { id: tenant(), name: "Other".to_owned() }).await;
    store.add_gateway(tenant(), gateway()).await.expect("new");
    let gateway_again = store.add_gateway(tenant(), gateway()).await;
    let operator = user("anna", Role::PlatformOperator);
    store.add_user(operator.clone()).await.expect("new");
    let user_again = store.add_user(operator).await;
    for (answer, kind) in [(tenant_again, "tenant"), (gateway_again, "gateway"), (user_again, "user")] {
        let error = answer.expect_err(kind);
        assert!(matches!(error, StoreError::AlreadyExists { kind: k, .. } if k == kind), "{error:?}");
    }
    assert_eq!(store.tenant(&tenant()).await.expect("works").expect("there").name, "Acme");
}

pub(crate) async fn nothing_belongs_to_a_tenant_or_user_that_is_not_there(lab: &impl Laboratory) {
    let store = lab.open();
    let gateway = store.add_gateway(tenant(), gateway()).await;
    let manager = store.add_user(user("anna", Role::Manager { tenant: tenant() })).await;
    let session = store.add_session(session(1, 0)).await;
    for (answer, missing) in [(gateway, "tenant"), (manager, "tenant"), (session, "user")] {
        let error = answer.expect_err(missing);
        assert!(matches!(error, StoreError::NotFound { kind, .. } if kind == missing), "{error:?}");
    }
}

pub(crate) async fn a_session_ends_by_removal_by_expiry_and_by_too_many_newer_ones(lab: &impl Laboratory) {
    let store = lab.open();
    store.add_user(user("anna", Role::PlatformOperator)).await.expect("new");
    for number in 0..=u8::try_from(SESSIONS_PER_USER_MAX).expect("small") {
        store.add_session(session(number, i64::from(number))).await.expect("new");
    }
    let find = |number| store.find_session(TokenDigest([number; 32]));
    assert_eq!(find(0).await.expect("works"), None, "the oldest made room");
    assert!(find(1).await.expect("works").is_some());
    store.remove_session(TokenDigest([1; 32])).await.expect("works");
    store.remove_session(TokenDigest([1; 32])).await.expect("removing it again is no error");
    assert_eq!(find(1).await.expect("works"), None);
    let expired = store.expire_sessions(Timestamp::from_micros(103)).await.expect("works");
    assert_eq!(expired, 2, "those that expired at 102 and at 103");
    assert!(find(4).await.expect("works").is_some());
}

pub(crate) async fn tenants_do_not_see_each_other(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let other = TenantId::new("other").expect("valid");
    store.add_tenant(Tenant { id: other.clone(), name: "Other".to_owned() }).await.expect("new");
    store.add_gateway(tenant(), gateway()).await.expect("new");
    send(&*store, StreamId::Telemetry, [telemetry(1)]).await;
    assert_eq!(store.ledger(&other).await.expect("works"), []);
    assert_eq!(store.gateways(&other).await.expect("works"), []);
    assert_eq!(store.registered_gateways(&other).await.expect("works"), []);
}
