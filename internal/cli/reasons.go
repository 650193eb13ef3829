package cli

// meaning explains a reason code to whoever has to decide.
type meaning struct{ means, todo string }

// meaningOf knows every code the builder gives; one it does not know is shown
// with the advice to read its details.
func meaningOf(code string) meaning {
	if m, ok := meanings()[code]; ok {
		return m
	}
	return meaning{
		means: "see the details",
		todo:  "read the details; when in doubt, use the ordinary update and a restart",
	}
}

// What a reviewer cannot help with.
const (
	useRestart = "nothing here can make it safe: install the fixed package and restart the program instead"
	readCode   = "read the change (review FILE, the distribution's patch) with this in mind, then accept or restart instead"
	reportIt   = "restart the program instead, and please report it: this is a limit of hotpatch, not of the update"
)

// meanings explains the codes of build: first those a person may accept, then
// those that refuse.
func meanings() map[string]meaning {
	return map[string]meaning{
		"layout-unverified": {
			"without type information on both sides nobody can prove that no struct changed its layout; nothing suggests that one did",
			"see in the distribution's patch that no struct changes, then accept; or build again with types (hotpatch debuginfo, or --debug-base and --debug-fixed)",
		},
		"layout-padding": {
			"sizes and offsets are as before, but a member fills what was padding, or has another name, or it or a variable another type: objects made by old code hold there what old code put there",
			"see that the new code can live with that, then accept",
		},
		"data-inferred": {
			"the place of a variable follows from its neighbours, not from direct evidence",
			"check in the disassembly that the variable is the one the code means, then accept; debug files give proof",
		},
		"data-init-changed": {
			"a variable starts with another value in the fixed program; the running one keeps the value it has",
			"see whether the fix depends on the new value: if it does, restart instead",
		},
		"map-step": {
			"variables moved by different distances in the middle of a section: one of them may have grown",
			"see that no global struct or array gained a member, then accept",
		},
		"new-variable": {
			"the fix brings a variable of its own, which starts with its initial value now, not at the program's start",
			"see that nothing should have been recorded in it before, then accept",
		},
		"much-changed": {
			"more than a quarter of the functions differ: a large fix, by the same compiler",
			"read the distribution's changelog: a fix of this size needs somebody who knows the program; then accept or restart",
		},
		"other-compiler": {
			"another compiler, or other options, made the fixed program, so that nearly all of it is replaced; entries and variables were found by evidence of two kinds each",
			"read the distribution's patch, since the fix cannot be told from the rebuild here; see that no struct changes, then accept or restart",
		},
		"symbol-bounds": {
			"changed code has no unwind data; a symbol tells its bounds, and every word of every stack is looked at instead",
			"accept; if apply stays busy, restart the program instead",
		},
		"table-carried": {
			"a table or constant object changed, and the new code uses its own copy; pointers to the old one that live in memory stay",
			"see whether long-lived objects hold a pointer to the old table (classes, operation tables), then accept or restart",
		},
		"never-returns": {
			"a changed function stays on a stack for as long as the program runs, so it can hardly ever be replaced",
			"try apply with a long --wait; if it stays busy, restart instead",
		},
		"pairing-uncertain": {
			"two functions were taken for each other's counterpart by order and likeness alone",
			"compare the two in the disassembly, then accept",
		},
		"export-gone": {
			"other programs and libraries may call a function by a name that the fixed image does not have; they go on with the old code, or call the new in a way that nobody promised",
			"see whether anything that runs uses that name; if it does, restart it with the fixed package instead",
		},
		"allocation-changed": {
			"a function asks for a buffer of another size than before; those that live have the old size, and new code may take them for larger",
			"see whether such a buffer outlives the call that made it, and whether new code checks it against the new size: if both, restart instead",
		},
		"ownership-moved": {
			"the fix seems to change who owns a buffer: what old code stored in an object, new code could free twice, or free what it does not own",
			"see in the distribution's patch whether objects made before can live on; if it changes who frees what, restart the program instead",
		},
		"new-callback": {
			"the fix stores or passes a pointer to a function of its own, or stores one to another function or table than before; what old code has set up before does not lead to it",
			"see whether the pointer goes into something that lives on (a table, a timer, a parsed configuration): if it does, the fix works only for what is made from now on",
		},
		"enum-changed": {
			"a named value, of an enumeration or a constant, has another number in the fixed program, or its number has another name now: what old code keeps by that number, new code may take for something else",
			"see that no variable or member keeps such a number from call to call, or that it still means the same, then accept",
		},
		"function-split": {
			"one function of the running program became two in the fixed one; its entry leads to the one, while some tables should lead to the other",
			"see in the disassembly that the first serves the callers of both, then accept",
		},
		"goes-with": {
			"another package of the same source changes, too, and the distribution lets the two go together only",
			"apply the other package's hotpatch to the same processes; where it has none, or is refused, restart them instead",
		},
		"library-list": {
			"the fixed program loads a library more or less at its start; running processes go on with those they have",
			"see in the changelog what the library is for, then accept or restart",
		},
		"pairing-moved": {
			"operations that belong in pairs (a reference taken and dropped, a lock taken and given, something counted up and down) went from one function to another, or came to two: what old code has taken, new code does not give back, or gives back what was never taken",
			"see in the distribution's patch which objects or locks it is about: if any may be held, or live on, while the hotpatch is put in, restart the program instead",
		},
		"runs-once": {
			"changed code runs once in a process, as a rule while it starts; where it has run, what the old version did stays, and the new one never runs",
			"see in the distribution's patch what the code is for: if the fix is there, only a restart brings it; else accept",
		},
		"start-only": {
			"the fixed file asks the loader for a protection that the old one does not; running processes go without it",
			"accept for what else is fixed, and restart the program when you can: only the next start brings the protection",
		},
		"image-left-out": {
			"this file of the package differs and cannot be patched, so the hotpatch leaves it out (--partial): a process that uses it is refused",
			"install the fixed package first, so that what is loaded from now on is fixed; restart the processes that are refused; then accept",
		},
		"image-gone": {
			"the fixed package no longer has this file, and running processes keep the old one",
			"see in the changelog why; what was fixed in it is fixed only by a restart",
		},

		"branch-into-entry": {
			"other code jumps into the first five bytes of the function, where the redirection goes",
			reportIt,
		},
		"data-unmapped": {
			"carried code uses a variable whose place in the running program is not certain; a wrong one would corrupt it",
			"debug files (--debug-base, --debug-fixed) may give the names that settle it; else restart the program instead",
		},
		"data-only": {
			"only data changed, or what the file asks of the loader, and no code that could be carried brings it in",
			useRestart,
		},
		"end-pointer": {
			"a loop runs to the end of an object, and the object and its end would not lie together",
			reportIt,
		},
		"libraries-changed": {
			"the fixed program loads other libraries, or looks for them in another way; running processes go on with those they have",
			useRestart,
		},
		"entry-crosses-page": {
			"the redirection would cross a page boundary and could not be written in one piece",
			reportIt,
		},
		"entry-too-small": {
			"the function is shorter than the five bytes of the redirection",
			reportIt,
		},
		"coroutine-changed": {
			"a C++ coroutine has other code; one that is suspended holds the number of the point where it goes on, and that is another point in the new code",
			useRestart,
		},
		"enum-renumbered": {
			"a named value has another number in the fixed program, and the program keeps such numbers in variables of other types or nobody can tell where",
			useRestart,
		},
		"exceptions": {
			"exceptions may have to pass a changed function, in a way that the program's unwinder could not be told of",
			reportIt,
		},
		"held-back": {
			"the package goes with another one of its source only, and that one is refused or can be hotpatched only in part",
			useRestart,
		},
		"ifunc-plt": {
			"carried code calls a function that the processor's features select at start-up, and the slot has no name",
			reportIt,
		},
		"layout-changed": {
			"a struct or a variable has another layout in the fixed program, and live objects have the old one",
			useRestart,
		},
		"link-failed": {
			"the trial of putting everything together did not work out",
			reportIt,
		},
		"new-tls": {
			"the fix brings or changes a thread-local variable; threads that run have no room for it",
			useRestart,
		},
		"non-pie": {
			"the program is linked to a fixed address, and nothing in both files shows which of its numbers are addresses: the relocations that ld --emit-relocs keeps are missing, or do not fit",
			"restart; whoever builds the program can link it with -Wl,--emit-relocs (and not strip them), or as a PIE",
		},
		"no-unwind-data": {
			"changed code has no unwind data, so nobody could tell whether it is on a stack",
			useRestart,
		},
		"places-kept": {
			"memory or a table that other code goes by leads into the middle of a changed function (labels as values of an interpreter, tables of where to go on after a fault); new code cannot be put there",
			useRestart,
		},
		"rebuilt-compiler": {
			"the fixed program was made by another compiler, with other flags or from a new upstream version: what differs is more than the fix",
			useRestart,
		},
		"reference-unbound": {
			"carried code refers to something in the running program that has no counterpart there",
			reportIt,
		},
		"startup-changed": {
			"code or tables that only run at the program's start changed, and that has already happened",
			useRestart,
		},
		"text-relocation": {
			"the program's code is relocated when it is loaded, so its bytes in memory are not those of the file",
			useRestart,
		},
		"undecodable": {
			"changed code holds an instruction that hotpatch does not know",
			reportIt,
		},
		"export-moved": {
			"a name by which other programs and libraries find a function stands for another one in the fixed program, or for none, and the running ones cannot be told so",
			useRestart,
		},
		"unreached-new": {
			"a new function is reached by nothing that is carried: the fix would arrive without its user",
			reportIt,
		},
		"unsupported-image": {
			"this kind of file cannot be patched",
			"see the detail; restart the program instead",
		},
	}
}
