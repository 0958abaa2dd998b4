package sim

import "math/rand/v2"

// A plan is what a seed decides for its whole run.
type plan struct {
	seed       uint64
	steps      int
	actors     int
	clients    int  // that share files
	faults     int  // one call of so many fails; 0 for none
	slow       int  // one call of so many waits for long
	hurried    int  // an actor that goes on as often as all others together; 0 for none
	crashes    bool // the process crashes now and then
	aimed      bool // it crashes soon after a pack was deleted
	moves      bool // a bucket is moved
	late       bool // deletes come late
	large      bool // files have more chunks than a row holds
	rebuild    bool // the database is lost in a crash, and made anew from the packs
	damage     bool // chunks are found damaged
	damageRest int  // steps between two such finds
	made       bool // some chunks are made from others
	rivals     bool // a collector that has lost its lease goes on beside another
	records    bool // a host's records hold files
}

// planOf draws a plan. Half of all seeds mix everything, the others aim at faults
// that need several rare things one after the other.
func planOf(seed uint64, steps int) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := plan{seed: seed, steps: steps, actors: 2 + rng.IntN(5), slow: 24, damageRest: 60}
	if rng.IntN(3) == 0 {
		p.faults = 20 + rng.IntN(200)
	}
	p.crashes, p.moves, p.late, p.large = rng.IntN(3) == 0, rng.IntN(4) == 0, rng.IntN(3) == 0, rng.IntN(8) == 0
	p.rebuild, p.made = p.crashes && rng.IntN(2) == 0, rng.IntN(3) == 0
	p.damage = !p.crashes && !p.moves && rng.IntN(4) == 0
	p.rivals = !p.moves && rng.IntN(4) == 0
	switch rng.IntN(10) {
	case 0: // what is deleted late comes back to life when the database is lost
		p.crashes, p.rebuild, p.late, p.aimed, p.hurried = true, true, true, true, collector
		p.steps, p.actors, p.large = 6*steps, 3, false
		p.faults, p.moves, p.damage, p.rivals = []int{0, 50}[rng.IntN(2)], false, false, false
	case 1: // a chunk is found damaged while somebody counts on it
		p.damage, p.damageRest, p.slow = true, 5, 8
		p.faults, p.crashes, p.rebuild, p.moves = 0, false, false, false
	case 2: // a collector is much slower than the one that took its lease
		p.rivals, p.slow, p.made = true, 8, true
		p.faults, p.crashes, p.rebuild, p.moves, p.damage = 0, false, false, false, false
	case 3, 4: // clients meet at the same files
		p.actors, p.clients, p.damage = 1, 3, false
	}
	p.records = rng.IntN(3) == 0
	return p
}
