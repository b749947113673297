package core

import "sync"

// jobs run what somebody started but must not wait for. The queue is bounded; a
// full queue refuses (add returns false).
type jobs struct {
	queue chan func()
	wg    sync.WaitGroup
}

const (
	jobQueue   = 16 << 10
	jobWorkers = 2
)

func newJobs(workers int) *jobs {
	j := &jobs{queue: make(chan func(), jobQueue)}
	for range workers {
		j.wg.Go(func() {
			for job := range j.queue {
				job()
			}
		})
	}
	return j
}

func (j *jobs) add(job func()) bool {
	select {
	case j.queue <- job:
		return true
	default:
		return false
	}
}

// close runs what is queued and ends the workers. Nobody may call add any more.
func (j *jobs) close() {
	close(j.queue)
	j.wg.Wait()
}
