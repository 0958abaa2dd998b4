package api

// storageRoutes are the routes by which operators look after what is stored.
func (s *Server) storageRoutes() []route {
	return []route{
		{"/api/admin/storage/gc", methods{"GET": s.onlyOperators(s.collectStatus), "POST": s.onlyOperators(s.collectSpace)}},
		{"/api/admin/storage/gc/explain", methods{"GET": s.onlyOperators(s.explainStored)}},
		{"/api/admin/storage/gc/preview", methods{"POST": s.onlyOperators(s.previewRemoval)}},
		{"/api/admin/storage/gc/pause", methods{"POST": s.onlyOperators(s.pauseCollect(true))}},
		{"/api/admin/storage/gc/resume", methods{"POST": s.onlyOperators(s.pauseCollect(false))}},
		{"/api/admin/storage/reports/dedup", methods{"GET": s.onlyOperators(s.makeReport("deduplication", s.reportDedup))}},
		{"/api/admin/storage/ledger", methods{"GET": s.onlyOperators(s.listLedger)}},
		{"/api/admin/storage/reports/gc", methods{"GET": s.onlyOperators(s.makeReport("collections", s.reportGarbage))}},
		{"/api/admin/storage/reports/fragmentation", methods{"GET": s.onlyOperators(s.makeReport("fragmentation", s.reportFragmentation))}},
		{"/api/admin/storage/reports/orphans", methods{"GET": s.onlyOperators(s.makeReport("orphans", s.reportOrphans))}},
		{"/api/admin/storage/reports/usage", methods{"GET": s.onlyOperators(s.makeReport("usage", s.reportUsage))}},
		{"/api/admin/storage/check", methods{"POST": s.onlyOperators(s.checkStored)}},
		{"/api/admin/storage/scrub", methods{"GET": s.onlyOperators(s.scrubStatus), "POST": s.onlyOperators(s.scrubStored)}},
	}
}
