//! The pages in the documentation are those that the tables make.

#[test]
fn the_pages_in_docs_are_up_to_date() {
    for (name, text) in brands::reference::pages() {
        let path = format!("{}/../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
        let there = std::fs::read_to_string(path).expect("the page is there");
        assert!(there == text, "{name}: cargo xtask docs writes it anew");
    }
}
