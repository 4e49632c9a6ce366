//! Compiles the `.proto` contract with `protox`, so that no system protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/relay.proto", "proto/identity.proto", "proto/letter.proto"];
    let descriptors = protox::compile(protos, ["proto"])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    // Messages carry tokens, secrets and people's words: none of them can be printed.
    config.skip_debug(["."]);
    // By far the largest of what devices of one account tell each other.
    config.boxed(".sotto.letter.v1.OwnDeviceSync.what.contact");
    config.include_file("wire.rs");
    config.compile_fds(descriptors)?;
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    Ok(())
}
