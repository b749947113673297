package core

// sessionTable lists the live sessions of users: a chain of places in one slab that
// holds no pointers, so that of a million sessions the collector follows nothing but
// the users' names. The zero value is ready. Not safe for concurrent use.
type sessionTable struct {
	first map[string]int32 // the place of a user's oldest session
	slab  []sessionPlace   // place 0 ends every chain
	free  int32            // chain of places not in use
	size  int              // sessions
}

type sessionPlace struct {
	ref  SessionRef
	next int32
}

// appendTo appends the sessions of user to dst, in the order of set.
func (t *sessionTable) appendTo(dst []SessionRef, user string) []SessionRef {
	for at := t.first[user]; at != 0; at = t.slab[at].next {
		dst = append(dst, t.slab[at].ref)
	}
	return dst
}

// set makes refs the sessions of user.
func (t *sessionTable) set(user string, refs []SessionRef) {
	for at := t.first[user]; at != 0; {
		next := t.slab[at].next
		t.slab[at], t.free = sessionPlace{next: t.free}, at
		t.size--
		at = next
	}
	if len(refs) == 0 {
		delete(t.first, user)
		return
	}
	if t.first == nil {
		t.first, t.slab = make(map[string]int32), make([]sessionPlace, 1)
	}
	chain := int32(0)
	for i := len(refs) - 1; i >= 0; i-- {
		at := t.free
		if at == 0 {
			at = int32(len(t.slab))
			t.slab = append(t.slab, sessionPlace{})
		} else {
			t.free = t.slab[at].next
		}
		t.slab[at] = sessionPlace{ref: refs[i], next: chain}
		chain = at
	}
	t.first[user] = chain
	t.size += len(refs)
}
