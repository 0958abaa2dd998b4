/*
 * The floor protocol of collection, as ARCHITECTURE.md describes it.
 *
 * Processes are uploads, uploads in pieces, edits and copies, a move, purges, collectors, the network that
 * carries deletes, a scrub, crashes and the loss of the database. One atomic step is one transaction of the
 * metadata store or one operation of the backend; between any two, all others may run. A process that stops for
 * ever at some step is one that is not scheduled any more, so a killed process needs no step of its own.
 *
 * What must hold (check): every chunk that a row needs, through segments and sources, has an entry in the index
 * of its domain, and the pack of that entry has not been deleted. A commit must not count on a chunk that is
 * known to be damaged.
 *
 * model_test.go chooses the processes by defining one scenario, and breaks one rule by defining a mutant.
 */

#ifndef CYCLES
#define CYCLES 2
#endif
#ifndef PURGES
#define PURGES 2
#endif

#define K     2    /* chunks; with SEGMENTS chunk 1 is a segment that refers to chunk 0 */
#define P     8    /* packs, each of one frame */
#define W     3    /* writers */
#define R     5    /* rows: versions, and parts of uploads in pieces */
#define NONE  255
#ifdef MOVE
#define D     2    /* domains */
#else
#define D     1
#endif

#define bit(i)      (1 << (i))
#define has(set, i) (((set) >> (i)) & 1)
#define at(d, c)    ((d) * K + (c))

/* The index of a domain: the frame of each chunk, named by its pack, and the stamp of its entry. */
byte place[D * K] = NONE;
byte stamp[D * K];
byte bad;             /* chunks of domain 0 that are known to be damaged */
byte removals;        /* counts the changes of bad */
byte indexed;         /* packs whose frame the index knows */
byte doomed;          /* packs that the database has doomed */

/* The other rows of the database. */
byte epoch[D] = 1;
byte floor[D];
byte lease[D];        /* the fencing token of the latest collector */
byte begin[W];        /* of each registered writer; 0 if it is not registered */
byte domain[W];       /* of each registered writer */
byte rows[R];         /* the chunks that each row names; 0 if there is no row */
byte home;            /* the domain of the bucket */
bool moving;          /* a move from domain 0 to domain 1 stands */

/* The backend. */
byte np;              /* packs written so far; numbers are never used again */
byte holds[P];        /* chunks in the frame of each pack */
byte sources[P];      /* chunks that the frame of each pack names as sources */
byte settled;         /* packs whose doom a durable record says */
byte sent;            /* packs for which a DELETE is on its way, perhaps several times */
byte gone;            /* packs that are deleted */

/* Every crash of the only server begins a new generation. A process of an older one does nothing any more. */
byte gen;
#define alive (mine == gen)

#ifdef CRASH
/* What of the index is durable: all that was written before the last commit. */
byte syncedPlace[K] = NONE;
byte syncedStamp[K];
byte syncedIndexed;
#endif

/* Scratch variables of single steps; they are no part of the state. */
hidden byte i, j, all;

inline sync() {
#ifdef CRASH
	i = 0;
	do
	:: i < K -> syncedPlace[i] = place[i]; syncedStamp[i] = stamp[i]; i++
	:: else -> break
	od;
	syncedIndexed = indexed
#else
	skip
#endif
}

/* Adds to a set of chunks what they need: references of segments, and sources of frames. Sources have none. */
inline close(set, d) {
#ifdef SEGMENTS
	if
	:: has(set, 1) -> set = set | bit(0)
	:: else
	fi;
#endif
	i = 0;
	do
	:: i < K && has(set, i) && place[at(d, i)] != NONE -> set = set | sources[place[at(d, i)]]; i++
	:: i < K && !(has(set, i) && place[at(d, i)] != NONE) -> i++
	:: i >= K -> break
	od
}

/* Sets a set to the roots of a domain and what they need. */
inline mark(set, d) {
	set = 0;
	j = 0;
	do
	:: j < R && (home == d || moving) -> set = set | rows[j]; j++
	:: else -> break
	od;
	close(set, d)
}

inline check() {
	all = 0;
	j = 0;
	do
	:: j < R -> all = all | rows[j]; j++
	:: else -> break
	od;
	close(all, home);
	j = 0;
	do
	:: j < K ->
		assert(!has(all, j) || (place[at(home, j)] != NONE && !has(gone, place[at(home, j)])));
		j++
	:: else -> break
	od
}

inline raise(d, c) {
	if
	:: stamp[at(d, c)] < epoch[d] -> stamp[at(d, c)] = epoch[d]
	:: else
	fi
}

/* A hit of a writer that began at b: a stamp that is not lower than b is high enough, and stays. */
inline hit(d, c) {
	if
	:: stamp[at(d, c)] < b -> stamp[at(d, c)] = epoch[d]
	:: else
	fi
}

/* Sets named to the chunks that the frames of indexed packs name as sources. */
inline findSources(named) {
	named = 0;
#ifndef SOURCE_FIRST
	i = 0;
	do
	:: i < np && has(indexed, i) -> named = named | sources[i]; i++
	:: i < np && !has(indexed, i) -> i++
	:: else -> break
	od
#endif
}

/* Registers a writer with the present epoch; in two steps where a store reads the epoch first. */
inline register() {
	atomic { alive -> b = epoch[d]; seen = removals;
#ifdef UPLOADS
	};
	atomic { alive ->
#endif
	begin[w] = b; domain[w] = d }
}

/*
 * Steps of a writer: looks chunk c up, and stamps its entry. If it is not stored, writes a pack and applies its
 * entry. A chunk that was applied by another writer meanwhile stays where it is. The change is applied a second time
 * at the end, late, as one whose outcome was unknown may be.
 */
inline lookUp(c) {
	p = NONE;
	atomic {
		alive ->
		if
		:: place[at(d, c)] != NONE && !has(bad, c) ->
#ifndef HIT_UNSTAMPED
			hit(d, c)
#else
			skip
#endif
		:: else -> p = 0
		fi
	};
	if
	:: p == 0 ->
		atomic {
			alive && np < P -> p = np; np++; holds[p] = bit(c);
#ifdef SOURCES
			if
			:: c == 1 && place[at(d, 0)] != NONE && sources[place[at(d, 0)]] == 0 -> sources[p] = bit(0)
			:: true
			fi
#endif
		};
#ifdef REPEATS
		repeats = bit(c); again = p;
#endif
		apply(c)
	:: else
	fi
}

/* One transaction: adds the entry of chunk c in pack p. If that cannot be, the writer begins again. */
inline apply(c) {
	atomic {
		alive ->
		if
#ifndef APPLY_TO_DOOMED
		:: has(doomed, p) -> p = NONE; failed = true
#endif
		:: sources[p] != 0 && (place[at(d, 0)] == NONE || sources[place[at(d, 0)]] != 0) -> p = NONE; failed = true
		:: else ->
			indexed = indexed | bit(p);
			if
			:: place[at(d, c)] == NONE || has(bad, c) -> place[at(d, c)] = p; bad = bad & ~bit(c); stamp[at(d, c)] = 0
			:: else
			fi;
#ifndef NEW_UNSTAMPED
			raise(d, c);
#endif
#ifndef SOURCES_UNSTAMPED
			if
			:: sources[p] != 0 -> raise(d, 0)
			:: else
			fi;
#endif
			check();
			p = NONE
		fi
	}
}

/* Steps of a writer: looks up all chunks of a set. */
inline lookUpAll(set) {
	if
	:: has(set, 0) -> lookUp(0)
	:: else
	fi;
	if
	:: has(set, 1) && !failed -> lookUp(1)
	:: else
	fi
}

/* What a transaction that makes a pointer durable demands. */
#ifdef NOT_COMPARED
#define passes true
#elif defined(SKEW)
#define passes (home == d && b >= f)
#else
#define passes (home == d && b >= floor[d])
#endif

/* What check does not see: a commit must not count on a chunk that was known to be damaged before. */
#define mayRely(set) assert(!((set) & bad))

/* An upload at once, of the chunks need, that becomes row r; a row of an upload in segments names its top only. */
proctype Upload(byte w, r, need) {
	byte mine, b, d, p = NONE, f, seen, repeats, again;
	bool failed;
	atomic { mine = gen; d = home };
start:
	failed = false;
	register();
	lookUpAll(need);
	if
	:: failed -> goto start
	:: else
	fi;
#ifdef REPEATS
	if
	:: repeats != 0 -> p = again; if :: has(repeats, 0) -> apply(0) :: else -> apply(1) fi; repeats = 0;
		if
		:: failed -> goto start
		:: else
		fi
	:: true
	fi;
#endif
#ifdef SKEW
	atomic { alive -> f = floor[d] };
#endif
	atomic {
		alive ->
		if
		:: passes && removals == seen ->
#ifdef SEGMENTS
			rows[r] = bit(1);
#else
			rows[r] = need;
#endif
			begin[w] = 0;
			mayRely(need);
			sync();
			check();
			goto done
		:: else -> d = home
		fi
	};
	goto start;
done:
	d = 0; b = 0; seen = 0; again = 0
}

/* An upload in pieces: each chunk becomes a part, row r, of its own; then the parts become the version, row r2. */
proctype Pieces(byte w, r, r2) {
	byte mine, b, d, p = NONE, f, seen, n, repeats, again;
	bool failed;
	atomic { mine = gen; d = home };
	do
	:: n < K ->
start:
		failed = false;
		register();
		if
		:: n == 0 -> lookUp(0)
		:: else -> lookUp(1)
		fi;
		if
		:: failed -> goto start
		:: else
		fi;
		atomic {
			alive ->
			if
			:: n > 0 && rows[r] == 0 -> begin[w] = 0; goto done   /* the upload was given up */
#ifdef PARTS_UNCHECKED
			:: !(n > 0 && rows[r] == 0) ->
#else
			:: !(n > 0 && rows[r] == 0) && passes ->
#endif
				rows[r] = rows[r] | bit(n);
				begin[w] = 0;
				n++;
				sync();
				check()
			:: else -> goto start
			fi
		}
	:: else -> break
	od;
	/* What the parts name, the version may name, since the transaction sees that they are there. */
	atomic {
		alive ->
		if
		:: rows[r] != 0 -> rows[r2] = rows[r]; rows[r] = 0; sync(); check()
		:: else
		fi
	};
done:
	d = 0; b = 0; seen = 0; again = 0
}

/*
 * An edit makes row to from the chunks of row from, and of more, which come with the request. A copy, and the
 * restore of a version, bring none. If row from is purged before the commit, what it named is looked up; what is not
 * stored any more cannot be brought, and the edit fails.
 */
proctype Edit(byte w, from, to, more) {
	byte mine, b, d, p = NONE, f, seen, taken, repeats, again, whole;
	bool failed, purged;
	atomic { mine = gen; d = home; taken = rows[from] };
	if
	:: taken == 0 -> goto done
	:: else
	fi;
start:
	failed = false;
	register();
	lookUpAll(more);
	if
	:: failed -> goto start
	:: else
	fi;
	if
	:: purged ->
		whole = taken;
#ifndef TOP_ONLY
		atomic { alive -> close(whole, d) };
#endif
		atomic {
			alive ->
			if
			:: has(whole, 0) && place[at(d, 0)] == NONE -> failed = true
			:: has(whole, 0) && place[at(d, 0)] != NONE -> hit(d, 0)
			:: else
			fi
		};
		atomic {
			alive ->
			if
			:: has(whole, 1) && place[at(d, 1)] == NONE -> failed = true
			:: has(whole, 1) && place[at(d, 1)] != NONE -> hit(d, 1)
			:: else
			fi
		};
		if
		:: failed -> begin[w] = 0; goto done
		:: else
		fi
	:: else
	fi;
	atomic {
		alive ->
		if
#ifdef ROW_UNCHECKED
		:: passes ->
#else
		:: (rows[from] == taken || purged) && (passes || (more == 0 && !purged)) ->
#endif
			rows[to] = taken | more;
			begin[w] = 0;
			sync();
			check();
			goto done
		:: else ->
			purged = rows[from] != taken;
			d = home
		fi
	};
	goto start;
done:
	d = 0; b = 0; seen = 0; taken = 0; again = 0; whole = 0
}

/* A move of the bucket from domain 0 to domain 1. */
#ifdef MOVE
proctype Move(byte w) {
	byte mine, b, d, p = NONE, f, seen, taken, copied, repeats, again;
	bool failed;
	mine = gen;
	d = 1;
	atomic { alive ->
#ifndef MOVE_UNROOTED
		moving = true;
#endif
		sync() };
start:
	failed = false;
	register();
	atomic { alive -> copied = rows[0] | rows[1] | rows[2] | rows[3] | rows[4] };
	lookUpAll(copied);
	if
	:: failed -> goto start
	:: else
	fi;
	atomic {
		alive ->
		taken = rows[0] | rows[1] | rows[2] | rows[3] | rows[4];
		if
#ifdef MOVE_UNROOTED
		:: (taken & ~copied) == 0 ->
#else
		:: (taken & ~copied) == 0 && b >= floor[1] ->
#endif
			home = 1; moving = false; begin[w] = 0; sync(); check(); goto done
		:: else
		fi
	};
	goto start;
done:
	b = 0; d = 0; seen = 0; taken = 0; copied = 0; again = 0
}
#endif

/* Purges of any row, or uploads in pieces that are given up. */
proctype Purge() {
	byte mine, n;
	mine = gen;
	do
	:: n < PURGES ->
		atomic {
			if
			:: rows[0] != 0 -> rows[0] = 0
			:: rows[1] != 0 -> rows[1] = 0
			:: rows[2] != 0 -> rows[2] = 0
			fi;
			n++;
			sync()
		}
	:: else -> break
	od
}


#ifdef NO_FENCING
#define held true
#else
#define held (lease[d] == token)
#endif

/* Drops the entry of a chunk that is not kept, if its stamp is below the floor. */
inline drop(c) {
	atomic {
		alive && held ->
		if
		:: place[at(d, c)] != NONE && !has(named, c) && !has(kept, c) && stamp[at(d, c)] < floor[d] ->
			place[at(d, c)] = NONE;
			check()
		:: else
		fi
	}
}

/* Copies chunk c to a new pack, then swaps its entry if that is still the one that was copied. */
inline rewrite(c) {
	atomic { alive && held && np < P -> was = place[at(d, c)]; q = np; np++; holds[q] = bit(c) };
	atomic {
		alive && held ->
		indexed = indexed | bit(q);
		if
#ifdef SWAP_UNCOMPARED
		:: true ->
#else
		:: place[at(d, c)] == was ->
#endif
			place[at(d, c)] = q;
			check()
		:: else
		fi;
		q = 0; was = 0
	}
}

/* Collects a domain, cycle after cycle. Steps in a cycle that lost its lease do nothing any more. */
proctype Collect(byte d) {
	byte mine, n, token, f, kept, was, named, q;
	mine = gen;
	do
	:: n < CYCLES ->
		atomic { alive -> n++; lease[d]++; token = lease[d]; epoch[d]++; sync() };
#ifdef FLOOR_LATE
		atomic { alive && held -> mark(kept, d) };
#endif
		/* The floor waits for the oldest writer, or passes it by. */
		atomic {
			alive && held ->
			f = epoch[d];
			if
			:: true ->
				i = 0;
				do
				:: i < W ->
					if
					:: begin[i] != 0 && domain[i] == d && begin[i] < f -> f = begin[i]
					:: else
					fi;
					i++
				:: else -> break
				od
			:: true
			fi
		};
		atomic {
			alive && held ->
			if
			:: floor[d] < f -> floor[d] = f
			:: else
			fi;
			f = 0;
			sync()
		};
#ifndef FLOOR_LATE
		atomic { alive && held -> mark(kept, d) };
#endif
#ifdef SOURCES
		/* What frames name as sources is read before the entries are dropped. */
		atomic { alive && held -> findSources(named) };
#endif
		drop(0);
		drop(1);
		/* Copies the chunk that is left in a pack with a dead one to a new pack, then swaps its entry. */
		if
		:: place[at(d, 0)] == place[at(d, 1)] || np == P
		:: place[at(d, 0)] != NONE && holds[place[at(d, 0)]] == 3 -> rewrite(0)
		:: place[at(d, 1)] != NONE && holds[place[at(d, 1)]] == 3 -> rewrite(1)
		:: else
		fi;
		kept = 0; named = 0;
		/* Dooms the packs in which no entry lies, says so in the packs, and deletes them. */
		atomic {
			alive && held ->
			was = indexed;
			j = 0;
			do
			:: j < D * K && place[j] != NONE -> was = was & ~bit(place[j]); j++
			:: j < D * K && place[j] == NONE -> j++
			:: else -> break
			od;
			indexed = indexed & ~was;
			doomed = doomed | was;
			sync()
		};
		if
		:: was != 0 ->
#ifndef DOOM_UNSETTLED
			atomic { alive -> settled = settled | was };
#endif
			atomic { alive -> sent = sent | was; was = 0 }
		:: else
		fi
	:: else -> break
	od;
	n = 0; token = 0
}

/* Deletes come late, twice or never: each that was sent may be carried out at any time. */
#define deletes(p) :: has(sent & ~gone, p) -> gone = gone | bit(p)
proctype Network() {
	do
	:: atomic {
		if
		deletes(0) deletes(1) deletes(2) deletes(3) deletes(4) deletes(5) deletes(6) deletes(7)
		fi;
		check()
	}
	od
}

/* A scrub finds the copy of chunk 0 damaged that it has read. */
proctype Scrub() {
	byte was;
	was = place[0];
#ifdef REMOVAL_EARLY
	removals++;
#endif
	atomic {
		was != NONE && place[0] == was ->
		bad = bad | bit(0);
#ifndef REMOVAL_EARLY
		removals++
#endif
	}
}

/* Indexes the packs that the index does not know and that are not doomed; what is known stays where it is. */
inline recover() {
	i = 0;
	do
	:: i < np && !has(indexed, i) && !has(doomed, i) && !has(gone, i) ->
		indexed = indexed | bit(i);
		j = 0;
		do
		:: j < K && has(holds[i], j) && place[j] == NONE -> place[j] = i; stamp[j] = epoch[0]; j++
		:: j < K && !(has(holds[i], j) && place[j] == NONE) -> j++
		:: j >= K -> break
		od;
		i++
	:: i < np && !(!has(indexed, i) && !has(doomed, i) && !has(gone, i)) -> i++
	:: i >= np -> break
	od
}

#ifdef CRASH
/* The server and its operating system stop: what was not durable is lost. The next opening indexes unknown packs. */
proctype Crash() {
	atomic {
		gen++;
		i = 0;
		do
		:: i < K -> place[i] = syncedPlace[i]; stamp[i] = syncedStamp[i]; i++
		:: else -> break
		od;
		indexed = syncedIndexed;
		recover();
		sync();
		check()
	}
}
#endif

/* The database is lost. All comes back from the packs, but for uploads on their way. */
proctype Loss() {
	atomic {
		gen++;
		i = 0;
		do
		:: i < K -> place[i] = NONE; stamp[i] = 0; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < W -> begin[i] = 0; i++
		:: else -> break
		od;
		indexed = 0;
		doomed = settled;
		epoch[0] = 1;
		floor[0] = 0;
		recover();
		check()
	}
}

/* The beginning: pack 0 holds all chunks in one frame, row 0 names them. */
init {
	atomic {
		np = 1;
		holds[0] = 3;
		indexed = 1;
		place[0] = 0;
		place[1] = 0;
#ifdef SEGMENTS
		rows[0] = bit(1);
#else
		rows[0] = 3;
#endif
#ifdef SOURCES
		/* Chunk 1 is not stored yet, so that a frame with a source is written. */
		holds[0] = 1;
		place[1] = NONE;
		rows[0] = 1;
#endif
		sync();
		run Purge();
		run Collect(0);
		run Network();
#ifdef UPLOADS
		run Upload(0, 1, 3);
		run Upload(1, 2, 1);
#endif
#ifdef REPEATS
		run Upload(0, 1, 3);
		run Upload(1, 2, 1);
#endif
#ifdef PIECES
		run Pieces(0, 3, 1);
		run Upload(1, 2, 1);
#endif
#ifdef EDITS
		run Edit(0, 0, 1, 1);
		run Edit(1, 1, 2, 0);
#endif
#ifdef SEGMENTS
		run Upload(0, 1, 3);
		run Edit(1, 0, 2, 0);
#endif
#ifdef SOURCES
		run Upload(0, 1, 2);
		run Upload(1, 2, 2);
#endif
#ifdef SERVERS
		run Collect(0);
		run Upload(0, 1, 1);
#endif
#ifdef LOSS
		run Loss();
		run Upload(0, 1, 3);
		run Upload(1, 2, 1);
#endif
#ifdef CRASH
		run Crash();
		run Upload(0, 1, 3);
		run Upload(1, 2, 1);
#endif
#ifdef SCRUB
		run Scrub();
		run Upload(0, 1, 3);
#endif
#ifdef MOVE
		run Collect(1);
		run Move(0);
		run Upload(1, 1, 1);
#endif
	}
}
