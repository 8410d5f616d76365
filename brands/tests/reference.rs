//! The page in the documentation is the one that the tables make.

#[test]
fn the_page_in_docs_is_up_to_date() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/brands.md");
    let there = std::fs::read_to_string(page).expect("the page is there");
    assert!(there == brands::reference::book(), "cargo xtask docs writes it anew");
}
