//! The primitives, through the very functions that this crate calls, against Project Wycheproof and the drafts' known answers.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use rand_core::{TryCryptoRng, TryRng};
use wycheproof::TestResult;

use crate::aead;
use crate::contributory::is_contributory;
use crate::keys::verify;
use crate::seal::hmac;
use crate::secret::expand;
use crate::testing::unhex;

#[test]
fn xchacha20_poly1305_agrees_with_wycheproof() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::XChaCha20Poly1305).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key: [u8; 32] = test.key.as_slice().try_into().unwrap();
        let sealed = [test.nonce.as_slice(), &test.ct, &test.tag].concat();
        let plaintext = if test.nonce.len() == 24 { aead::open(&key, &test.aad, &sealed) } else { None };
        match test.result {
            TestResult::Invalid => {
                assert!(plaintext.is_none(), "test {}", test.tc_id);
                refused += 1;
            }
            TestResult::Valid | TestResult::Acceptable => {
                assert_eq!(plaintext.unwrap().as_slice(), test.pt.as_slice(), "test {}", test.tc_id);
                let nonce: [u8; 24] = test.nonce.as_slice().try_into().unwrap();
                let again = [test.nonce.as_slice(), &aead::encrypt(&key, &nonce, &test.aad, &test.pt)].concat();
                assert_eq!(again, sealed, "test {}", test.tc_id);
                opened += 1;
            }
        }
    }
    assert!(opened > 200 && refused > 50, "{opened} opened, {refused} refused");
}

#[test]
fn hkdf_sha256_agrees_with_wycheproof() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // No salt is the same as a salt of zeros; other salts are not used here.
        if test.result == TestResult::Valid && test.salt.is_empty() && test.size <= 64 {
            let okm = expand::<64>(&test.ikm, &test.info);
            assert_eq!(okm[..test.size], test.okm[..], "test {}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 5, "{count} tests");
}

#[test]
fn hmac_sha256_agrees_with_wycheproof() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let is_right = hmac(&test.key, &test.msg)[..group.tag_size / 8] == test.tag[..];
            assert_eq!(is_right, test.result != TestResult::Invalid, "test {}", test.tc_id);
            *if is_right { &mut good } else { &mut bad } += 1;
        }
    }
    assert!(good > 50 && bad > 50, "{good} good, {bad} bad");
}

#[test]
fn ed25519_agrees_with_wycheproof_and_refuses_every_malleable_form() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for test in &group.tests {
            let is_right = verify(&public, &test.msg, &test.sig).is_ok();
            assert_eq!(is_right, test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
            *if is_right { &mut good } else { &mut bad } += 1;
        }
    }
    assert!(good > 50 && bad > 50, "{good} good, {bad} bad");
}

#[test]
fn ed25519_refuses_keys_that_sign_everything() {
    // With a key of small order, R = 0 and S = 0 satisfy the equation for some messages or all of them.
    let identity = unhex("0100000000000000000000000000000000000000000000000000000000000000");
    let order_two = unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    let order_eight = unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    // The identity again, with y + p.
    let not_canonical = unhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    for key in [&identity, &order_two, &order_eight, &not_canonical] {
        let signature = [identity.as_slice(), &[0; 32]].concat();
        let public: [u8; 32] = key.as_slice().try_into().unwrap();
        for message in 0..32_u8 {
            assert!(verify(&public, &[message], &signature).is_err());
        }
    }
}

#[test]
fn x25519_keys_that_contribute_nothing_are_those_of_wycheproof() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut weak, mut strong) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public: [u8; 32] = test.public_key.as_slice().try_into().unwrap();
        let flagged = |flag| test.flags.contains(&flag);
        let is_zero = test.shared_secret.iter().all(|byte| *byte == 0);
        if is_zero || flagged(wycheproof::xdh::TestFlag::NonCanonicalPublic) {
            assert!(!is_contributory(&public), "test {}", test.tc_id);
            weak += 1;
        } else if public[31] < 0x80 {
            assert!(is_contributory(&public), "test {}", test.tc_id);
            strong += 1;
        }
    }
    assert!(weak > 20 && strong > 200, "{weak} weak, {strong} strong");
}

/// The randomness of a known answer.
struct Fixed(Vec<u8>);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("encapsulation fills bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("encapsulation fills bytes")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

#[test]
fn hpke_with_x_wing_agrees_with_the_drafts_known_answer() {
    let fixture = include_str!("../fixtures/hpke-xwing.txt");
    let field = |name: &str| {
        let line = fixture.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        unhex(line.unwrap())
    };
    let private_key = <XWing as hpke::kem::Kem>::PrivateKey::from_bytes(&field("skRm")).unwrap();
    let public_key = <XWing as hpke::kem::Kem>::PublicKey::from_bytes(&field("pkRm")).unwrap();
    assert!(
        crate::kem::KemPrivateKey::from_bytes(&field("skRm").try_into().unwrap()).public().to_bytes() == field("pkRm")
    );

    let (enc, sender) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public_key,
        &field("info"),
        &mut Fixed(field("ikmE")),
    )
    .unwrap();
    assert!(enc.to_bytes().to_vec() == field("enc"));
    let recipient =
        setup_receiver::<ChaCha20Poly1305, HkdfSha256, XWing>(&OpModeR::Base, &private_key, &enc, &field("info"))
            .unwrap();

    let exports: Vec<_> = fixture.lines().filter_map(|line| line.strip_prefix("export: ")).collect();
    assert_eq!(exports.len(), 5);
    for export in exports {
        let [context, length, expected] = export.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (context, expected) = (unhex(context), unhex(expected));
        let mut exported = vec![0; length.parse().unwrap()];
        sender.export(&context, &mut exported).unwrap();
        assert_eq!(exported, expected);
        recipient.export(&context, &mut exported).unwrap();
        assert_eq!(exported, expected);
    }
}
