//! What a configuration has to know of the brands.

/// What a brand is to a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrandFacts {
    /// Name.
    pub name: &'static str,
    /// Lowest and highest level, where it has levels.
    pub levels: Option<([u16; 3], [u16; 3])>,
}

const BRANDS: [BrandFacts; 2] = [
    BrandFacts { name: "linux", levels: Some(([1, 0, 0], [7, u16::MAX, u16::MAX])) },
    BrandFacts { name: "native", levels: None },
];

/// Names of the brands.
pub fn known_brands() -> Vec<&'static str> {
    BRANDS.iter().map(|brand| brand.name).collect()
}

/// One brand's facts.
pub fn brand_facts(name: &str) -> Option<BrandFacts> {
    BRANDS.iter().copied().find(|brand| brand.name == name)
}
