package check

// What heals a problem.
const (
	HealsRepair  = "repair"  // a repair
	HealsUpload  = "upload"  // the next upload of the same bytes; a repair, if there is another copy
	HealsGC      = "gc"      // a full collection
	HealsRebuild = "rebuild" // a repair when the database was moved away, which makes it anew
	HealsNothing = "nothing"
)

// What a repair does about a problem.
const (
	doesCatchUp = "the database is brought up to the packs: what they hold and it lacks is added, what they tell was removed is removed"
	doesMark    = "another copy takes its place, in any pack or in the database; without one it counts as not stored, so that the next upload of the same bytes stores it"
	doesMove    = "what can be read of the pack is moved to others, so that a collection can delete it"
	doesForget  = "chunks of the pack without another copy count as not stored; a collection forgets the pack when nothing in it is needed any more"
	doesAppend  = "the row is appended to the packs"
	doesSegment = "the segment is brought to the packs"
	doesSum     = "names and sums are made anew from the rows"
	doesRecord  = "the deletion is recorded in the packs"
	// DoesRebuild is what it does about a database that is missing or damaged.
	DoesRebuild = "the database is made anew from the packs, and what is left of it set aside"
)

// with returns p with what heals it and what a repair does about it.
func (p Problem) with(heals, does string) Problem {
	p.Heals, p.Does = heals, does
	return p
}

// fillHeals fills in what heals a problem. In a dry run nothing is repaired.
func (c *checker) fillHeals(p *Problem) {
	if p.Heals == "" {
		p.Heals = HealsNothing
	}
	if p.Repaired {
		p.Heals, p.Repaired = HealsRepair, !c.opts.DryRun
	}
}
