//! Published test vectors, and what is refused, through the table that SQLCipher gets.

use std::mem::MaybeUninit;

use data_encoding::HEXLOWER;

use super::*;

const DECRYPT: c_int = 0;
const ENCRYPT: c_int = 1;
const SHA1: c_int = 0;
const SHA256: c_int = 1;
const SHA512: c_int = 2;

fn table() -> Provider {
    let mut table = MaybeUninit::uninit();
    // SAFETY: there is room for a table, and `sotto_cipher_setup` fills all of it.
    unsafe {
        assert_eq!(sotto_cipher_setup(table.as_mut_ptr()), SQLITE_OK);
        table.assume_init()
    }
}

fn size(bytes: &[u8]) -> c_int {
    bytes.len().try_into().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn hmac(algorithm: c_int, key: &[u8], parts: [&[u8]; 2]) -> Option<String> {
    let table = table();
    let mut tag = vec![0; usize::try_from((table.get_hmac_sz)(ptr::null_mut(), algorithm)).unwrap()];
    let [one, two] = parts;
    // SAFETY: every pointer comes with its slice's length, and `tag` has the announced size.
    let code = unsafe {
        let (key, key_size, out) = (key.as_ptr(), size(key), tag.as_mut_ptr());
        (table.hmac)(ptr::null_mut(), algorithm, key, key_size, one.as_ptr(), size(one), two.as_ptr(), size(two), out)
    };
    (code == SQLITE_OK).then(|| HEXLOWER.encode(&tag))
}

fn kdf(algorithm: c_int, passphrase: &[u8], salt: &[u8], rounds: c_int, key_size: usize) -> Option<String> {
    let mut key = vec![0; key_size];
    // SAFETY: every pointer comes with its slice's length.
    let code = unsafe {
        let (passphrase, passphrase_size) = (passphrase.as_ptr(), size(passphrase));
        let (salt, salt_size, key_size, out) = (salt.as_ptr(), size(salt), size(&key), key.as_mut_ptr());
        (table().kdf)(ptr::null_mut(), algorithm, passphrase, passphrase_size, salt, salt_size, rounds, key_size, out)
    };
    (code == SQLITE_OK).then(|| HEXLOWER.encode(&key))
}

fn cipher(mode: c_int, key: &[u8], iv: [u8; 16], input: &[u8]) -> Option<String> {
    let mut output = vec![0; input.len()];
    // SAFETY: every pointer comes with its slice's length, the IV has a block and `output` is as long as `input`.
    let code = unsafe {
        let (input, input_size, out) = (input.as_ptr(), size(input), output.as_mut_ptr());
        (table().cipher)(ptr::null_mut(), mode, key.as_ptr(), size(key), iv.as_ptr(), input, input_size, out)
    };
    (code == SQLITE_OK).then(|| HEXLOWER.encode(&output))
}

/// RFC 2202 (SHA-1) and RFC 4231 (SHA-256, SHA-512): a short key, a text, a key longer than a block of the hash.
#[test]
fn hmac_gives_the_published_tags() {
    let vectors: [(c_int, &[u8], &[u8], &str); 9] = [
        (SHA1, &[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
        (SHA1, b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (SHA1, &[0xaa; 80], LONG_KEY, "aa4ae5e15272d00e95705637ce8a3b55ed402112"),
        (SHA256, &[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            SHA256,
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (SHA256, &[0xaa; 131], LONG_KEY, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (
            SHA512,
            &[0x0b; 20],
            b"Hi There",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
        (
            SHA512,
            b"Jefe",
            b"what do ya want for nothing?",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            SHA512,
            &[0xaa; 131],
            LONG_KEY,
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
    ];
    for (algorithm, key, text, tag) in vectors {
        assert_eq!(hmac(algorithm, key, [text, &[]]).unwrap(), tag);
        let (one, two) = text.split_at(text.len() / 2);
        assert_eq!(hmac(algorithm, key, [one, two]).unwrap(), tag, "the tag depends on where the text is cut");
    }
}

const LONG_KEY: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";

/// RFC 6070 (SHA-1), RFC 7914 section 11 (SHA-256, the first 32 of its 64 bytes), and for SHA-512, which no RFC covers, what
/// OpenSSL answers to the same questions.
#[test]
fn pbkdf2_gives_the_published_keys() {
    let gives = |algorithm, passphrase, salt, rounds, key: &str| {
        assert_eq!(kdf(algorithm, passphrase, salt, rounds, key.len() / 2).unwrap(), key);
    };
    gives(SHA1, b"password", b"salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6");
    gives(SHA1, b"password", b"salt", 4096, "4b007901b765489abead49d926f721d065a429c1");
    gives(SHA1, LONG_PASSPHRASE, LONG_SALT, 4096, "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
    gives(SHA1, b"pass\0word", b"sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3");
    gives(SHA256, b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
    gives(SHA256, b"Password", b"NaCl", 80_000, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
    gives(SHA512, b"passwd", b"salt", 1, "c74319d99499fc3e9013acff597c23c5baf0a0bec5634c46b8352b793e324723");
    gives(SHA512, b"Password", b"NaCl", 80_000, "e6337d6fbeb645c794d4a9b5b75b7b30dac9ac50376a91df1f4460f6060d5add");
}

const LONG_PASSPHRASE: &[u8] = b"passwordPASSWORDpassword";
const LONG_SALT: &[u8] = b"saltSALTsaltSALTsaltSALTsaltSALTsalt";

/// NIST SP 800-38A, F.2.5 and F.2.6.
#[test]
fn aes_256_cbc_gives_the_published_blocks() {
    let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let iv = *hex("000102030405060708090a0b0c0d0e0f").first_chunk().unwrap();
    let plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
    let sealed = "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b";
    assert_eq!(cipher(ENCRYPT, &key, iv, &hex(plain)).unwrap(), sealed);
    assert_eq!(cipher(DECRYPT, &key, iv, &hex(sealed)).unwrap(), plain);
}

#[test]
fn a_page_may_be_encrypted_where_it_stands() {
    let (key, iv, plain) = ([1; 32], [2; 16], [3; 4096]);
    let mut page = plain;
    let start = page.as_mut_ptr();
    // SAFETY: `start` stands for 4096 bytes, read and written by this call alone.
    unsafe { (table().cipher)(ptr::null_mut(), ENCRYPT, key.as_ptr(), 32, iv.as_ptr(), start, 4096, start) };
    assert_eq!(HEXLOWER.encode(&page), cipher(ENCRYPT, &key, iv, &plain).unwrap());
}

#[test]
fn what_does_not_exist_is_refused() {
    for unknown in [-1, 3] {
        assert_eq!((table().get_hmac_sz)(ptr::null_mut(), unknown), 0);
        assert_eq!(hmac(unknown, &[1; 32], [b"text", b""]), None);
        assert_eq!(kdf(unknown, b"passphrase", b"salt", 1, 32), None);
    }
    assert_eq!(cipher(2, &[1; 32], [2; 16], &[3; 16]), None, "neither encrypt nor decrypt");
}

#[test]
fn wrong_sizes_are_refused() {
    assert_eq!(cipher(ENCRYPT, &[1; 16], [2; 16], &[3; 16]), None, "the key of another AES");
    assert_eq!(cipher(ENCRYPT, &[1; 32], [2; 16], &[3; 17]), None, "a partial block");
    assert_eq!(kdf(SHA512, b"passphrase", b"salt", 0, 32), None, "no round at all");
    assert_eq!(kdf(SHA512, b"passphrase", b"salt", -1, 32), None, "less than no round");
    assert_eq!(kdf(SHA512, b"passphrase", b"salt", 1, 33), None, "more than a key");
}

#[test]
fn missing_inputs_and_negative_lengths_are_refused() {
    let (table, none, some) = (table(), ptr::null(), [7_u8; 32]);
    let mut out = [0_u8; 64];
    let (here, out) = (some.as_ptr(), out.as_mut_ptr());
    let context = ptr::null_mut();
    // SAFETY: each pointer is null or stands for at least as many bytes as its length says.
    let refusals = unsafe {
        [
            (table.hmac)(context, SHA512, none, 32, here, 32, none, 0, out),
            (table.hmac)(context, SHA512, here, -1, here, 32, none, 0, out),
            (table.hmac)(context, SHA512, here, 32, none, 32, none, 0, out),
            (table.hmac)(context, SHA512, here, 32, here, -1, none, 0, out),
            (table.kdf)(context, SHA512, none, 32, here, 32, 1, 32, out),
            (table.kdf)(context, SHA512, here, 32, none, 32, 1, 32, out),
            (table.kdf)(context, SHA512, here, 32, here, 32, 1, -1, out),
            (table.cipher)(context, ENCRYPT, none, 32, here, here, 32, out),
            (table.cipher)(context, ENCRYPT, here, 32, here, here, -1, out),
            (table.random)(context, out, -1),
        ]
    };
    assert_eq!(refusals, [SQLITE_ERROR; 10]);
}

#[test]
fn randomness_fills_the_buffer_and_never_repeats() {
    let draw = || {
        let mut bytes = [0; 80];
        // SAFETY: `bytes` holds 80 bytes.
        assert_eq!(unsafe { (table().random)(ptr::null_mut(), bytes.as_mut_ptr(), 80) }, SQLITE_OK);
        bytes
    };
    let (one, two) = (draw(), draw());
    assert_ne!(one, two);
    assert!([one, two].iter().all(|bytes| bytes.chunks(16).all(|chunk| chunk != [0; 16])));
}
