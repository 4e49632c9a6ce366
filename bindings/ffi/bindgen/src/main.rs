//! UniFFI's generator, in the version that the library was built with: a generator of another version writes bindings that refuse
//! to load it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
