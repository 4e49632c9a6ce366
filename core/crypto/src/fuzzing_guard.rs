//! vodozemac accepts every MAC and every signature under `cfg(fuzzing)`. A release build that sees it must not exist.

#[cfg(all(fuzzing, not(debug_assertions)))]
compile_error!("cfg(fuzzing) switches authentication off: it is for debug builds of fuzzers only");
