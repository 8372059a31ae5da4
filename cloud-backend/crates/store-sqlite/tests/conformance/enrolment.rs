//! Invitations and certificates.

use plant_model::Timestamp;
use tenancy::*;

use super::Laboratory;
use super::fixture::*;

fn invitation(code: u8) -> Invitation {
    Invitation {
        code_sha256: TokenDigest([code; 32]),
        tenant: tenant(),
        gateway: gateway(),
        created_at: at(0),
        expires_at: at(1_000),
        used_at: None,
    }
}

fn certificate(serial: &str, issued: i64) -> GatewayCertificate {
    GatewayCertificate {
        tenant: tenant(),
        gateway: gateway(),
        serial: serial.to_owned(),
        issued_at: at(issued),
        expires_at: at(issued + 10_000),
        revoked_at: None,
    }
}

async fn serials(store: &impl TenancyStore) -> Vec<(String, Option<Timestamp>)> {
    let all = store.certificates(&tenant(), &gateway()).await.expect("works");
    all.into_iter().map(|c| (c.serial, c.revoked_at)).collect()
}

pub(crate) async fn an_invitation_makes_a_gateway_once(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    store.invite(invitation(1)).await.expect("there is the tenant");
    assert_eq!(store.registered_gateways(&tenant()).await.expect("works"), [gateway()]);
    let code = TokenDigest([1; 32]);
    assert_eq!(store.find_invitation(code).await.expect("works"), Some(invitation(1)));
    assert_eq!(store.enrol(code, certificate("4a", 10)).await.expect("works"), Ok(()));
    drop(store);
    let store = lab.open();
    let again = store.enrol(code, certificate("4b", 20)).await.expect("works");
    assert_eq!(again, Err(EnrolmentRefusal::Used { at: at(10) }));
    let unknown = store.enrol(TokenDigest([9; 32]), certificate("4c", 20)).await.expect("works");
    assert_eq!(unknown, Err(EnrolmentRefusal::Unknown));
    assert_eq!(serials(&*store).await, [("4a".to_owned(), None)], "what is refused leaves nothing");
}

pub(crate) async fn a_late_code_and_a_replaced_one_are_worth_nothing(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    store.invite(invitation(1)).await.expect("new");
    store.invite(invitation(2)).await.expect("the gateway may be there");
    assert_eq!(store.find_invitation(TokenDigest([1; 32])).await.expect("works"), None);
    let late = store.enrol(TokenDigest([2; 32]), certificate("4a", 1_000)).await.expect("works");
    assert_eq!(late, Err(EnrolmentRefusal::Expired { at: at(1_000) }));
    let mut foreign = invitation(3);
    foreign.tenant = plant_model::TenantId::new("nobody").expect("valid");
    let error = store.invite(foreign).await.expect_err("no such tenant");
    assert!(matches!(error, StoreError::NotFound { kind: "tenant", .. }), "{error:?}");
}

pub(crate) async fn a_new_enrolment_and_a_revocation_end_what_was_there(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    store.invite(invitation(1)).await.expect("new");
    store.enrol(TokenDigest([1; 32]), certificate("4a", 10)).await.expect("works").expect("good");
    store.add_certificate(certificate("4b", 20)).await.expect("a renewal");
    assert_eq!(store.revoked_serials(at(20)).await.expect("works"), Vec::<String>::new());
    store.invite(invitation(2)).await.expect("again");
    store.enrol(TokenDigest([2; 32]), certificate("4c", 30)).await.expect("works").expect("good");
    let known = serials(&*store).await;
    let expected = [("4c", None), ("4b", Some(at(30))), ("4a", Some(at(30)))];
    assert_eq!(known, expected.map(|(serial, revoked)| (serial.to_owned(), revoked)));

    store.invite(invitation(3)).await.expect("a code on its way");
    assert_eq!(store.revoke_gateway(tenant(), gateway(), at(40)).await.expect("works"), 1);
    assert_eq!(store.find_invitation(TokenDigest([3; 32])).await.expect("works"), None, "it ends, too");
    assert_eq!(store.revoked_serials(at(50)).await.expect("works"), ["4a", "4b", "4c"]);
    assert_eq!(
        store.revoked_serials(at(10_020)).await.expect("works"),
        ["4c"],
        "the ended ones need no list"
    );
    let other = plant_model::GatewayId::new("gw-9").expect("valid");
    let error = store.revoke_gateway(tenant(), other, at(40)).await.expect_err("no such gateway");
    assert!(matches!(error, StoreError::NotFound { kind: "gateway", .. }), "{error:?}");
}
