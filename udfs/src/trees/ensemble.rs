//! Tree ensembles as models describe them: checked once, then read by whoever scores or explains.

#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    pub trees: Vec<Tree>,
    /// Features that rows must have: the largest one tested, plus one.
    pub features: usize,
    pub targets: usize,
    pub aggregate: Aggregate,
    /// What is added to each target after aggregation: empty, or one value per target.
    pub base: Vec<f64>,
    pub precision: Precision,
    /// What `Test::Member` looks into: sorted, without duplicates and NaN.
    pub sets: Vec<Vec<f64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

/// What features are compared in and leaves are added in. All numbers are held as doubles; of `F32` they are float32 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    F64,
}

/// The root is node 0, a child stands behind its parent, and every other node has one parent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    pub nodes: Vec<Node>,
    /// What leaves add, leaf after leaf.
    pub weights: Vec<Weight>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    Branch(Branch),
    Leaf(Leaf),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Branch {
    pub feature: u32,
    pub test: Test,
    /// What the feature is compared with; nothing for `Test::Member`.
    pub value: f64,
    /// A NaN goes to `yes` whatever the test says of it.
    pub missing_true: bool,
    pub yes: u32,
    pub no: u32,
    /// The node's cover; NaN where the model does not say.
    pub hits: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    /// In the set of this number.
    Member(u32),
}

/// Its weights are `first .. first + count` of the tree's; none is a leaf that adds nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leaf {
    pub first: u32,
    pub count: u32,
    /// The leaf's cover; NaN where the model does not say.
    pub hits: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    pub target: u32,
    pub value: f64,
}

impl Ensemble {
    /// Whether a value goes to `yes`. NaN fulfils no test but `Neq`, as in onnxruntime.
    pub fn goes_yes(&self, branch: &Branch, value: f64) -> bool {
        let holds = match branch.test {
            Test::Leq => value <= branch.value,
            Test::Lt => value < branch.value,
            Test::Gte => value >= branch.value,
            Test::Gt => value > branch.value,
            Test::Eq => value == branch.value,
            Test::Neq => value != branch.value,
            Test::Member(set) => self
                .sets
                .get(set as usize)
                .is_some_and(|set| contains(set, value)),
        };
        holds || (branch.missing_true && value.is_nan())
    }

    /// What the leaf adds that a row reaches in a tree.
    pub fn reached<'a>(&self, tree: &'a Tree, row: impl Fn(u32) -> f64) -> &'a [Weight] {
        let mut at = 0;
        loop {
            match &tree.nodes[at] {
                Node::Branch(branch) => {
                    at = (if self.goes_yes(branch, row(branch.feature)) {
                        branch.yes
                    } else {
                        branch.no
                    }) as usize;
                }
                Node::Leaf(leaf) => return tree.weights_of(leaf),
            }
        }
    }

    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.trees
            .iter()
            .flat_map(|tree| &tree.nodes)
            .filter_map(|node| match node {
                Node::Branch(branch) => Some(branch),
                Node::Leaf(_) => None,
            })
    }

    /// Memory that it holds.
    pub fn bytes(&self) -> usize {
        let trees: usize = self.trees.iter().map(Tree::bytes).sum();
        let sets: usize = self
            .sets
            .iter()
            .map(|set| size_of_val(set.as_slice()) + size_of::<Vec<f64>>())
            .sum();
        trees + sets + size_of_val(self.base.as_slice())
    }
}

impl Tree {
    pub fn weights_of(&self, leaf: &Leaf) -> &[Weight] {
        &self.weights[leaf.first as usize..(leaf.first + leaf.count) as usize]
    }

    fn bytes(&self) -> usize {
        size_of::<Tree>()
            + size_of_val(self.nodes.as_slice())
            + size_of_val(self.weights.as_slice())
    }
}

/// Whether a sorted set holds a value; -0.0 is 0.0, and NaN is in no set.
pub fn contains(set: &[f64], value: f64) -> bool {
    let at = set.partition_point(|member| *member < value);
    set.get(at) == Some(&value)
}
