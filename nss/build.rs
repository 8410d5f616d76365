//! The name by which the C library loads the module (nss(5)).

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnss_zones.so.2");
}
