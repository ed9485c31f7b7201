"""Templates of statements and expressions, which random programs are made of.

What stands between angle brackets is filled in: a letter is an expression of a type (int, float,
str, list, words, dict, tuple, set, bool, Point), `n` a small number, `k` a key.
"""

# ruff: noqa: E501 - rows of templates

from __future__ import annotations

START = {
    "i": ("3", "-7", "0"),
    "f": ("0.5", "-2.25"),
    "s": ("'abc'", "'Hello, world'", "''"),
    "l": ("[3, 1, 2]", "[5, 5, -1, 0]"),
    "w": ("['b', 'a']", "['x', '', 'yy']"),
    "d": ("{'a': 1, 'b': 2}", "{'c': 3}"),
    "t": ("(1, 2, 3)",),
    "e": ("{1, 2, 3}", "{2, 9}"),
    "b": ("True", "False"),
    "p": ("Point(1)", "Child(4)"),
}
"""What variables of each type hold at first: `i0`, `i1`, ... for ints."""
SPECS = (
    "5d", "<6", ">8", "^7", "*^9", "05d", "+d", ".2f", ",", "x", "#x", "o", "b", "e", ".3g", "%",
    "_d", "10.3f", "s", ".2", "-^6", "=+7d", "c", "n", "", ",.1f", " d", "E", "#b", "08.2f", "5.1%",
)  # fmt: skip
LOOPS = (
    "i0 in <l>[:4]", "i1, s0 in zip(<l>[:3], <w>)", "i2, i0 in enumerate(<l>[:3])",
    "s1 in <w>[:3]", "k, i0 in <d>.items()", "k in <d>", "i0 in range(<n>, <n>)",
    "i1 in sorted(<e>)", "i1, *l1 in [(1, 2, 3), (4,), <t>]", "x in it", "i2 in <p>",
    "(i0, (i1, s2)) in [(1, (2, 'a')), (3, (4, 'b'))]", "i0 in reversed(<l>[:3])",
    "i1 in (i * i for i in <l>[:3] if i > <n>)", "l0[0] in <l>[:3]", "d0['k'] in <t>",
    "i1 in map(note, <l>[:3])", "i2 in filter(None, <l>[:4])", "s0 in list(<s>)[:3]",
    "i0 in numbers(3, <n>)",
)  # fmt: skip
SIMPLE = (
    "i0 = <i>", "i1 = <i>", "i2 = <i>", "f0 = <f>", "f1 = <f>", "s0 = <s>", "s1 = <s>", "l0 = <l>",
    "l1 = <l>", "w0 = <w>", "d0 = <d>", "d1 = <d>", "t0 = <t>", "e0 = <e>", "e1 = <e>", "b0 = <b>",
    "b1 = <b>", "p0 = <p>", "p1 = <p>", "i0 += <i>", "i1 -= <n>", "i2 //= <i>", "i0 %= <n>",
    "f0 += <f>", "s0 += <s>[:3]", "l0 += <l>[:2]", "l0 += <s>[:2]", "w0 += (<s>,)", "e0 |= <e>",
    "e1 &= <e>", "e0 -= <e>", "e1 ^= <e>", "d0 |= <d>", "i1 |= <n>", "i2 <<= 2", "i0 >>= 1",
    "f1 /= <f>", "f0 *= <n>", "i0, i1 = i1, i0", "i0, *l0 = <l>", "*l0, i0 = <l>[:4]",
    "(i0, s0), i1 = (<i>, <s>), <i>", "[i0, i1] = <l>[:2]", "i0, i1, i2 = <t>",
    "i0 = i1 = <i>", "l0[0] = <i>", "l0[<n>] = <i>", "l0[<n>:<n>] = <l>[:3]", "l1[::2] = <l>[:2]",
    "d0[<k>] = <i>", "d1[<k>] += <i>", "del d0[<k>]", "del l0[<n>]", "del l1[<n>:<n>]",
    "l0.append(<i>)", "l0.insert(<n>, <i>)", "log.append(l0.pop())", "log.append(l1.pop(<n>))",
    "l0.extend(<l>[:2])", "l0.remove(<n>)", "l0.reverse()", "l1.sort()", "l0.sort(reverse=<b>)",
    "w0.sort(key=len)", "l1.sort(key=lambda v: -v)", "log.append(l0.index(<n>))",
    "d0.update(<d>)", "d1.update(z=<i>)", "log.append(d0.pop(<k>))", "log.append(d0.pop(<k>, None))",
    "d0.setdefault(<k>, <i>)", "log.append(d0.popitem())", "e0.add(<i>)", "e0.discard(<i>)",
    "e1.remove(<n>)", "e0.update(<l>)", "log.append(<any>)", "log.append((<any>, <any>))",
    "log.append(note(<i>) + note(<i>) * note(<n>))", "log.append(note(<n>) < note(<n>) < note(<n>))",
    "log.append(note(<i>) or note(<i>) and note(<i>))", "log.append([note(<i>), *map(note, <l>[:2])])",
    "log.append({note(<k>): note(<i>)})", "log.append(note(<l>)[note(<n>)])",
    "log.append(keyword(note(<i>), *<l>[:2], d=note(<n>), **<d>))", "log.append(keyword(<i>, c=<n>))",
    "log.append(keyword(*<l>[:3]))", "it = iter(<l>)", "it = zip(<l>, <w>)", "it = enumerate(<w>, <n>)",
    "it = map(lambda v: v * 2, <l>)", "it = filter(lambda v: v > <n>, <l>)", "it = reversed(<t>)",
    "it = (note(v) for v in <l>[:3])", "it = iter(<d>.items())", "it = numbers(3)",
    "log.append(next(it))", "log.append(next(it, 'end'))", "log.append(list(it))", "log.append(<n> in it)",
    "i0, *w0 = it", "log.append(sum(1 for _ in it))", "log.append(any(v for v in it))",
    "p0 += <i>", "p0.x = <i>", "p0.double = <i>", "p1.y = <any>", "p0[<n>] = <i>", "log.append(p0[<n>])",
    "p1.z = <i>", "log.append(p1.z)", "del p0.y", "log.append((p0 < p1, p0 == p1, <n> in p0))",
    "a1, a2, a3 = <i>, <f>, <s>; log.append(f'{p0} {p1!r} {a1:<spec>} {a2:<spec>} {a3!r:<spec>}')",
    "a1 = <i>; log.append(f'{a1:<spec>}')",
    "a2 = <f>; log.append(f'{a2:<spec>}')", "a3 = <s>; log.append(f'{a3:<spec>}')",
    "a4 = <b>; log.append(f'{a4:<spec>}|{a4!s:>{i2}}')",
    "log.append(format(<any>, '<spec>'))", "log.append('{:<spec>}|{!r}|{}'.format(<i>, <s>, <any>))",
    "log.append('%s %r' % (<any>, <s>))", "log.append('%d' % <i>)", "log.append('%5.2f|%-5s|' % (<f>, <s>))",
    "log.append(p0(*<l>[:2], k=<n>))", "log.append(Point.make(<n>).double)", "log.append(p1.twice(<n>))",
    "log.append([x for x in p0])", "a0, b2 = p0", "log.append(len(p0))", "log.append((p0 + <n>).x)",
    "log.append((p0 + p1).x)", "log.append(<i> + p0)", "log.append(-p0 == p0)", "log.append(sorted([p0, p1])[0].x)",
    "log.append(bool(p0))", "assert <b>, <s>", "l0 *= 2; l0 = l0[:5]", "log.append(w0 is l0)", "l1 = l0",
    "d1 = d0", "log.append([i for i in <l> if i % 2 == 0])", "log.append({v: k for k, v in <d>.items()})",
    "log.append([(i, j) for i in <l>[:2] for j in <t> if i != j])", "log.append([m0 := i for i in <l>[:3]])",
    "log.append([f() for f in [lambda: i for i in range(3)]])", "log.append([f() for f in [lambda i=i: i for i in range(3)]])",
    "log.append((lambda a, *b, c=<n>: (a, b, c))(<i>, <n>))", "log.append(globally(<i>))", "log.append(<b> if <b> else <i>)",
    "log.append(str(<any>))", "log.append(repr(<any>))", "log.append(isinstance(<any>, (int, str)))",
    "log.append(type(<any>).__name__)", "log.append(max(<l>))", "log.append(min(<w>, key=len))",
    "log.append(max(<l>, default=<n>))", "log.append(total(*<l>[:3], start=<n>))", "log.append(total(<i>, <f>))",
    "log.append(list(itertools.chain(<l>[:2], <w>)))", "log.append(list(itertools.islice(it, <n>)))", "it = itertools.accumulate(<l>)",
    "log.append(list(itertools.zip_longest(<l>[:3], <w>)))", "log.append(list(itertools.product(<w>[:2], <l>[:2])))", "it = itertools.count(<n>, 2); log.append(next(it)); it = itertools.islice(it, 3)",
    "log.append(functools.reduce(operator.add, <l>))", "log.append(functools.reduce(lambda a, b: a * 2 + b, <l>[:4], <n>))", "log.append(functools.partial(keyword, <i>, d=<n>)(<s>))",
    "log.append(sorted(<d>.keys() & {<k>, 'b'}))", "log.append(sorted(<d>.keys() - <d>.keys()))", "log.append(<k> in <d>.keys())", "log.append((<k>, <i>) in <d>.items())", "view = d0.items(); d0['new'] = <i>; log.append(list(view))",
    "log.append(list(map(operator.itemgetter(0), [<t>, <l>])))", "log.append(sorted(<d>.items(), key=lambda kv: kv[1]))", "log.append(<s>.encode()[:4])", "log.append(list(<s>.encode())[:3])",
    "log.append([*zip(*[<l>[:2], <t>])])", "a1, (a2, *a3) = <i>, <l>", "log.append({**<d>, **{<k>: <i>}})", "log.append([x for x in <l> if x if x > <n>])", "log.append(list(itertools.takewhile(lambda v: v > <n>, <l>)))",
    "log.append([i0 for i0 in <l>[:2]] + [i0])", "log.append(<l>[<n>:<n>:<n>])", "log.append(<s>[<n>:<n>:<n>])", "del l0[<n>:<n>:2]", "l0[<n>:<n>:2] = <l>[:2]", "log.append(dict(<d>.items()) == <d>)",
    "log.append(list(enumerate(reversed(<l>[:3]), <n>)))", "log.append(any(note(v) > <n> for v in <l>))", "log.append(all(note(v) for v in <l>))", "log.append(next((v for v in <l> if v > <n>), None))",
    "log.append((note(<i>) if note(<b>) else note(<n>)) in note(<l>))", "log.append(note([<n>])[note(0)] == note(<n>) != note(<i>))", "log.append(not note(<b>) or note(<n>))", "d0[note(<k>)], l0[note(0)] = note(<i>), note(<n>)", "l0[note(0)] += note(<i>)",
    "def n0(a, b=note(<i>), *, c=note(<n>)): return a + b + c\nlog.append(n0(<i>))", "log.append(str(Own(<i>)))", "log.append(repr(KeyError(<k>)))", "log.append(Own(<i>, more=1).code)", "log.append(str(ValueError(<s>, <i>)))", "log.append(sorted(<w>, key=lambda s: s[::-1]))",
)  # fmt: skip
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "i": (
        "(<i> + <i>) % 1009", "<i> - <n>", "(<i> * <n>) % 997", "<i> // <i>", "<i> % <i>", "-<i>", "~<i>",
        "abs(<i>)", "len(<l>)", "len(<s>)", "len(<d>)", "sum(<l>)", "max(<l>)", "min(<t>)", "<l>[<n>]",
        "<d>[<k>]", "<d>.get(<k>, <n>)", "int(<f>)", "int(<s>)", "<s>.count('l')", "<s>.find(<s>)",
        "<t>[<n>]", "round(<f>)", "divmod(<i>, <n>)[0]", "pow(2, <n>)", "(<i> & <i>)", "(<i> | <n>)", "(<i> ^ <i>)",
        "<b> + <n>", "int('1' + '0' * 2, 2)", "ord(<s>[0])", "<p>.x", "note(<i>)", "(m0 := <i>)", "<l>.index(<n>)",
        "next(iter(<l>))", "(<i> if <b> else <i>)", "hash(<n>)", "<l>.count(<n>)", "len(<e>)", "(<i>).bit_length()",
        "sum(v for v in <l> if v > <n>)", "int(<b>)", "<n>", "<s>.index('o')", "sum([])", "pow(<n>, 3, 7)",
    ),
    "f": (
        "<f> + <i>", "<f> * <n>", "<i> / <i>", "<f> / <f>", "-<f>", "abs(<f>)", "float(<i>)", "round(<f>, 1)", "<f> // <n>",
        "<f> % <n>", "<f> - <f>", "float(<s>)", "max(<f>, <i>)", "sum([<f>, <i>])", "1e3", "float('inf')", "-0.0", "<i> * 0.1",
        "round(<f>, <n>)", "divmod(<f>, <f>)[1]", "float('nan')", "2.5", "1e16 + <n>", "<f> ** 2",
    ),
    "s": (
        "(<s> + <s>)[:12]", "<s>[<n>]", "<s>[<n>:<n>]", "<s>[::-1]", "<s>.upper()", "<s>.lower()", "<s>.strip()", "<s>.title()",
        "<s>.replace('l', 'L')", "<s>.replace(<s>, 'x', 1)[:9]", "','.join(<w>)", "str(<i>)", "<s>.center(9, '*')", "<s>.zfill(6)", "<s> * 2",
        "<s>.split(',')[0]", "f'{i0}-{s0=}-{i1 + 1:>3}'[:14]", "<s>.partition('l')[2]", "chr(97 + abs(<i>) % 26)", "<w>[<n>]", "<s>.swapcase()",
        "<s>.ljust(5)[:9]", "repr(<n>)", "<s>.rstrip('do')", "(<s> or <s>)", "note(<s>)", "<s>.removeprefix('H')", "<s>.expandtabs()[:9]",
        "str(<f>)", "<s>.capitalize()", "'%s' % <s>", "hex(<i>)", "bin(<n>)", "<s>.rpartition('o')[0]", "str(<l>)[:9]", "<s>.casefold()",
        "'{}{}'.format(<n>, <s>)[:9]", "min(<w>)", "'-'.join(sorted(<s>))[:9]", "oct(<n>)", "ascii(<s>)[:8]", "str(<b>)", "<s>.translate({108: 'L'})",
    ),
    "l": (
        "[<i>, <i>]", "<l>[:4]", "sorted(<l>)[:5]", "[v + <n> for v in <l>[:4]]", "list(range(<n>, <n>))", "<l>[::-1]", "(<l> + <l>)[:5]",
        "list(<t>)", "[*<l>[:2], <i>]", "list(<d>.values())", "list(map(abs, <l>))", "[i * j for i in <l>[:2] for j in <t>]", "sorted(<e>)", "<l>.copy()",
        "list(filter(None, <l>))", "<l> or [0]", "[<n>] * 2", "sorted(<l>, reverse=True)", "list(reversed(<l>))", "[len(w) for w in <w>]", "<l>[<n>:<n>]", "list(zip(<l>, <t>))[0:1] and <l>", "note(<l>)", "[v for v in <l> if v > <n>]", "list(dict.fromkeys(<l>))", "[x for x, *_ in [<t>]]", "list(numbers(2, <n>))", "<l>[::2]",
    ),
    "w": (
        "[<s>, <s>]", "<s>.split()", "list(<s>)[:4]", "sorted(<w>)", "[w.upper() for w in <w>]", "list(<d>)", "<s>.split('l', 1)", "<w>[:3]", "sorted(<d>)", "<s>.splitlines()",
        "[str(v) for v in <l>]", "list(map(str, <t>))", "<s>.rsplit(' ', 1)", "[*<w>[:2], <s>]", "sorted(set(<w>))", "[k for k, v in <d>.items() if v > <n>]", "list(<d>.keys())",
    ),
    "d": (
        "{<k>: <i>}", "{**<d>, 'z': <i>}", "dict(zip(<w>, <l>))", "{k: v + 1 for k, v in <d>.items()}", "dict(a=<i>, b=<n>)", "<d>.copy()", "<d> | <d>", "{w: len(w) for w in <w>}", "dict.fromkeys(<w>, <n>)", "dict(sorted(<d>.items()))", "{k: v for k, v in <d>.items() if v > <n>}", "dict([('q', <i>)])", "dict(<d>, c=<i>)",
    ),
    "t": (
        "(<i>, <i>)", "tuple(<l>[:3])", "<t>[::-1]", "(<t> + (<i>,))[:4]", "divmod(<i>, <i>)", "tuple(sorted(<t>))", "(<i>,)", "<t> * 2", "(*<l>[:2], <n>)", "tuple(v * 2 for v in <t>)", "(<t> if <b> else <t>)", "<t>[1:]", "tuple(enumerate(<w>))[:0] or <t>", "max(<t>, <t>)",
    ),
    "e": (
        "{<i>, <n>}", "set(<l>)", "<e> | <e>", "<e> & <e>", "<e> - <e>", "<e> ^ <e>", "{v % 3 for v in <l>}", "set()", "<e>.union(<l>)", "<e>.copy()", "<e>.intersection(<t>, <l>)", "set(filter(None, <l>))", "<e>.symmetric_difference(<e>)", "<e>.difference(<l>)",
    ),
    "b": (
        "<i> < <i>", "<i> == <n>", "<i> != <f>", "<s> < <s>", "<n> < <i> <= <n>", "not <b>", "<b> and <b>", "<b> or <b>", "<i> in <l>", "<k> in <d>", "<s> in <s>", "<l> == <l>", "isinstance(<any>, int)", "bool(<l>)", "<s>.isdigit()", "<s>.startswith('H')", "any(<l>)", "all(<t>)", "<i> is None", "<e> <= <e>", "<l> < <l>", "<t> > <t>", "<i> > <f>", "<d> == <d>", "<s>.isalpha()", "<n> not in <t>", "<f> == <f>", "<s>.endswith(('d', 'c'))", "<any> == <any>", "callable(<any>)", "<l> is <l>", "<e>.isdisjoint(<e>)", "True", "<b> is True", "hasattr(<p>, 'x')", "<any> is not None", "all(v > <n> for v in <l>)", "<f> < <i>", "<p> == <p>", "issubclass(Child, Point)",
    ),
    "p": ("Point(<i>)", "Child(<n>)", "Point(<n>, y=<i>)", "<p>", "(<p> + <n>)", "(-<p>)", "Point.make(<i>)"),
}  # fmt: skip
PATTERNS = (
    "0", "1 | 2 | 3", "None", "True", "'abc'", "[]", "[i0]", "[i0, *l0]", "(i0, i1)", "[1, i2, *_]", "{'a': i0}", "{'b': i1, **d1}", "{}", "int()", "int(i0)", "str(s0)",
    "float()", "list()", "bool(b0)", "Point(x=i0)", "Point(x=1)", "Child()", "Point() as m0", "[*_, i0]", "(int() | float()) as m0", "[int(i0), str(s1)]", "-1", "1.5", "dict()",
    "[[i0, i1], *_]", "tuple()", "str() | None", "_", "i0", "(i0 as m0)",
)  # fmt: skip
SIGNATURES = (
    "a | <i>", "a, b=3 | <i>", "*args | *<l>[:2]", "a, *, c=1 | <i>, c=<n>", "**kwargs | **<d>", "a=1, /, b=2 | b=<n>", " | ", "a, *args, b=2, **k | <i>, <n>, z=<s>",
)  # fmt: skip
USES = (
    "log.append(next(G))", "log.append(next(G, None))", "log.append(list(G))", "log.append(G.send('s'))", "G.close()", "log.append(G.throw(KeyError('k')))", "log.append(1 in G)",
    "log.append(G.throw(ValueError))", "for x in G:\n    log.append(x)\n    break", "log.append([*G])", "it = G",
)  # fmt: skip
TOPICS: dict[str, tuple[str, ...]] = {
    "in-place operators on attributes and items": (
        "p0.x += <i>", "p1.y = [<i>]; p1.y += <l>[:2]", "l0[<n>] -= <i>", "d0[<k>] *= <n>", "d0.setdefault('list', []).append(<i>)",
        "t0[<n>] += <i>", "a1 = ([<i>], 2); a1[0] += <l>[:2]", "a1 = ([<i>], 2)\ntry:\n    a1[0] += [<n>]\nexcept TypeError:\n    log.append(a1)",
        "l0[note(<n>)] += note(<i>)", "p0.double += <i>", "p0.double //= <n>", "a1 = {'n': {'m': <i>}}; a1['n']['m'] **= 2; log.append(a1)",
        "a1 = a2 = <l>; a1 += (<i>,); log.append((a2, a1 is a2))", "a1 = a2 = <t>; a1 += (<i>,); log.append((a2, a1 is a2))", "a1 = a2 = <e>; a1 |= {<n>}; log.append((sorted(a2), a1 is a2))",
        "a1 = frozenset(<e>); a2 = a1; a1 |= {<n>}; log.append((sorted(a2), len(a1)))", "l0[<n>:<n>] += [<i>]", "l0 *= <n>; l0 = l0[:6]", "a1 = [[<n>]] * 3; a1[0] += [<i>]; log.append(a1)",
        "Point.count -= <n>", "p0.more = <d>; p0.more[<k>] = <i>; log.append(p0.more)", "p0 -= <n>", "d0 |= [('x', <i>)]", "e0 -= <l>", "e0 ^= <e>", "b0 &= <b>", "b1 ^= <b>", "i0 @= <n>", "s0 %= (<i>,)", "w0 *= <b>",
    ),
    "slices": (
        "l0[<n>:<n>:<n>] = <l>[:3]", "l1[:] = <l>", "l1[<n>:] = (v for v in <l>[:2])", "del l0[::<n>]", "del l1[<n>:]", "l0[<n>:<n>] = <s>[:2]", "l0[slice(<n>, None)] = [<i>]", "log.append(slice(<n>, <n>, <n>).indices(len(<l>)))", "l0[None:<n>] = []",
        "log.append(<t>[<n>:<n>:<n>])", "log.append(range(<n>, 9)[<n>:<n>])", "log.append(<s>[slice(None, <n>)])", "log.append(<l>[<n>:][::-1])", "log.append((slice(<n>) == slice(<n>), slice(1, <n>).stop))", "l0[len(l0):] = [<i>]", "l0[<n>:<n>] = l0", "log.append(range(<n>, <n>, <n>)[<n>])",
        "log.append(list(<s>.encode()[<n>:<n>]))", "log.append(bytearray(<s>.encode())[:1] == <s>.encode()[:1])",
    ),
    "calls with stars": (
        "log.append(keyword(*<t>, **{'d': <i>}))", "log.append(keyword(*<l>, *<t>, z=<n>, **<d>))", "log.append(keyword(<i>, **{'b': <n>}))", "log.append(keyword(a=<i>))", "log.append(keyword())",
        "log.append(keyword(*(v for v in <l>[:2]), **dict(e=<n>)))", "log.append((lambda *a, **k: (a, k))(*<s>[:2], **<d>))", "log.append((lambda a, /, *, b: (a, b))(<i>, b=<n>))", "log.append((lambda a, b=<i>, *c: (a, b, c))(*<l>))", "log.append(max(*<t>, <n>))",
        "log.append([*<l>[:2], *<t>, *<s>[:2]])", "log.append({**<d>, 'a': <i>, **<d>})", "log.append((*<l>, *range(<n>)))", "log.append(sorted({*<e>, *<t>}))", "log.append(dict(**<d>, **{'zz': <n>}))", "log.append(dict(a=<i>, **<d>))", "print(*[])", "log.append(list(map(lambda a, b=<n>: (a, b), <l>[:2])))", "log.append(functools.partial(keyword, *<l>[:2], d=<n>)(d=<i>, *<t>[:1]))",
    ),
    "scopes": (
        "b, k = counter(<i>); log.append((b(), b(<n>), k()))", "x1 = [lambda: i for i in range(3)]; log.append([f() for f in x1])", "x1 = [lambda i=i: i + <n> for i in range(3)]; log.append([f() for f in x1])", "x1 = (lambda v: (lambda: v))(<i>); log.append(x1())",
        "log.append([(m0 := m0 + v) for v in <l>[:3]])", "log.append([y1 for v in <l>[:3] if (y1 := v * 2) > <n>])", "log.append(any((found := v) > <n> for v in <l>)); log.append(found)", "while (m0 := m0 + 1) < <n>:\n    log.append(m0)", "if (z1 := <i>) > <n>:\n    log.append(z1)",
        "del i0", "log.append(i0); i0 = 3", "del x9", "i0 = <i>; del i0; i0 = <n>", "del l0[0], d0['a']", "log.append(globally(<any>))", "log.append([i for i in [j for j in <l>[:2]]])", "i0 = [i0 for i0 in <l>[:2]]; i0 = len(i0)",
        "class K:\n    x = <i>\n    y = [x for _ in range(2)]", "class K:\n    v = <i>\n    w = v + <n>\n    u = [z for z in (v, w)]\nlog.append(K.u)", "def n0():\n    log.append(i0)\n    if False:\n        i0 = 1\nn0()", "def n0(a=l0):\n    a.append(<n>)\n    return len(a)\nlog.append((n0(), n0()))",
        "def n0(n):\n    return 1 if n <= 1 else n * n0(n - 1)\nlog.append(n0(<n>))", "def n0():\n    def inner():\n        nonlocal x1\n        x1 += 1\n    x1 = <i>\n    inner()\n    inner()\n    return x1\nlog.append(n0())", "def n0():\n    try:\n        return x1\n    except NameError as error:\n        return type(error).__name__\n    x1 = 2\nlog.append(n0())",
        "f1 = lambda: i1\ni1 = <i>\nlog.append(f1())", "log.append({k: [v + j for j in <l>[:2]] for k, v in <d>.items()})", "log.append([[i * j for j in range(i)] for i in range(3)])", "log.append(sorted({v % 3 for v in <l> for _ in range(2)}))", "def n0():\n    global seen\n    seen = <i>\nn0()\nlog.append(globally(<n>))",
        "log.append(slow(abs(<n>)))", "log.append(sum(x * y for x, y in zip(<l>, <t>)))", "log.append((lambda f, *a: f(*a))(max, <i>, <n>))", "def n0():\n    global made\n    made = <i>\nn0()\nlog.append(made)",
    ),
    "copies": (
        "a1 = copy.copy(<l>); a1.append(<i>); log.append(a1)", "a1 = [<l>, <d>]; a2 = copy.copy(a1); a2[0].append(<i>); log.append((a1, a2))", "a1 = [l0, l0]; a2 = copy.deepcopy(a1); a2[0].append(<i>); log.append((a1, a2))", "a1 = {'p': p0, 'q': [p0]}; a2 = copy.deepcopy(a1); a2['p'].x = <i>; log.append((a2['q'][0].x, p0.x))",
        "a1 = copy.copy(p0); a1.x = <i>; log.append((p0.x, a1.x, type(a1).__name__))", "a1 = Pair(<i>, <n>); a2 = copy.copy(a1); a2.rest.append(<i>); log.append((a1.rest, a1 == a2))", "a1 = Pair(<i>); a2 = copy.deepcopy(a1); a2.rest.append(<i>); log.append((a1.rest, a1 == a2))", "log.append(copy.deepcopy(<t>) == <t>)", "l1 = l0[:]; l1.append(<i>); log.append(l0)", "d1 = dict(d0); d1['n'] = <i>; log.append(d0)", "a1 = copy.deepcopy({'a': [<n>, {<n>}], 'b': (<l>,)}); log.append(a1)", "a1 = [<i>]; a1.append(a1[:]); a2 = copy.deepcopy(a1); a2[1].clear(); log.append(a1)", "log.append(copy.copy(Colour.RED) is Colour.RED)", "a1 = list(l0) * 2; a2 = [a1, a1]; a2[0][0:1] = []; log.append(a2)",
    ),
    "orders": (
        "log.append(sorted(<w>, key=len, reverse=<b>))", "log.append(sorted(<w>, key=str.lower))", "log.append(sorted(<d>, key=<d>.get))", "log.append(sorted([(1, 'b'), (<n>, 'a'), (1, 'a')], key=lambda v: v[0]))", "log.append(sorted([Pair(<i>), Pair(<n>)])[0].left)", "log.append(sorted([<i>, <f>, <n>]))", "log.append(sorted([<any>, <any>, <any>]))", "l0.sort(key=lambda v: (v % 3, -v))", "w0.sort(key=lambda s: note(s[:1]))", "log.append(min(<l>, key=abs))", "log.append(max(<w>, key=len, default='none'))",
        "log.append(max([], default=<i>))", "log.append(sorted(<l>, key=lambda v: <i> // v))", "log.append(list(reversed(sorted(<l>))))", "log.append(sorted(<d>.items(), key=operator.itemgetter(1), reverse=True))", "log.append(sorted([p0, p1], key=operator.attrgetter('x'))[0].x)", "log.append(sorted(<l>) == sorted(<l>, reverse=True)[::-1])", "log.append([k for k, g in itertools.groupby(sorted(<l>, key=lambda v: v % 2), key=lambda v: v % 2)])", "log.append([(k, list(g)) for k, g in itertools.groupby(<s>)])", "log.append(sorted(Level, reverse=True)[0].name)", "log.append(sorted(<l>, key=functools.cmp_to_key(lambda a, b: b - a)))",
    ),
    "order of dicts and what sets hold": (
        "d0.pop(<k>, None); d0[<k>] = <i>; log.append(list(d0))", "d0.update({<k>: <i>, 'q': 1}); log.append(list(d0.items()))", "log.append(list(reversed(<d>)))", "log.append(list(reversed(<d>.values())))", "log.append(list({**<d>, **<d>}))", "log.append(list(<d> | {'a': <i>}))", "log.append({1: 'a', True: 'b', 1.0: 'c'})", "log.append(list({<n>: 1, <n>: 2, <i>: 3}.items()))", "log.append(dict.fromkeys(<s>, <n>))", "d0.clear(); d0['z'] = d0.get('a', <n>)", "log.append(next(iter(<d>), None))", "log.append(d0.popitem()); d0['new'] = 1; log.append(list(d0))",
        "log.append(sorted(<d>.keys() & {<k>, 'b'}))", "log.append(sorted(<d>.keys() - <d>.keys()))", "log.append(sorted(<d>.keys() | <w>))", "log.append(<d>.keys() == <d>.keys())", "log.append(<d>.items() <= <d>.items())", "view = d0.items(); d0['new'] = <i>; log.append(list(view))", "view = d0.keys(); d0.pop('a', None); log.append((len(view), 'a' in view))",
        "for k in d0:\n    d0[k] = <i>", "for k in d0:\n    d0[k + 'x'] = <i>", "for k in list(d0):\n    del d0[k]\n    break", "for v in l0:\n    l0.remove(v)", "log.append(len({*<l>, *<l>}))", "log.append(sorted(set(<s>) & set(<s>)))", "log.append(frozenset(<e>) == <e>)", "log.append({frozenset(<e>): 1}[frozenset(<e>)])", "log.append(sum(<e>))", "log.append({(1, <n>): 'x'}.get((1, <n>)))", "log.append({<l>: 1})", "e0.add(<l>)", "log.append(<e> < <e> | {<n>})", "log.append(e0.pop())", "log.append(len(<e> ^ set(<t>)))", "log.append(max(<e>, default=0))", "log.append(<n> in <e>)", "log.append(dict([(<k>, <i>), <s>]))", "log.append(dict(<w>))", "log.append(dict(zip('abc', <l>)))", "log.append(d0.setdefault(<k>))",
    ),
    "strings": (
        "log.append(<s>.split(<s>))", "log.append(<s>.split(None, <n>))", "log.append(<s>.rsplit('l', <n>))", "log.append(<s>.partition(<s>))", "log.append(<s>.find(<s>, <n>, <n>))", "log.append(<s>.rfind('l', <n>))", "log.append(<s>.rindex(<s>))", "log.append(<s>.replace(<s>, <s>, <n>)[:20])", "log.append(<s>.strip(<s>))", "log.append(<s>.lstrip('Ha'))", "log.append(<s>.center(<n>, '-'))", "log.append(<s>.rjust(6, '0'))", "log.append(<s>.startswith(<s>, <n>))", "log.append(<s>.count(<s>))", "log.append(<s>.join(<w>)[:20])", "log.append(<s>.join(<l>))",
        "log.append((<s>.isupper(), <s>.islower(), <s>.isspace(), <s>.isalnum(), <s>.isidentifier()))", "log.append((<s> * <n>)[:20])", "log.append(<s> < <s> <= <s>)", "log.append(<s>.splitlines(True))", "log.append('a\\tb\\nc'.expandtabs(<n>))", "log.append(str.maketrans('ab', 'xy'))", "log.append(<s>.translate(str.maketrans('lo', '01', 'H')))", "log.append(repr(<s> + \"'\"))", "log.append([ord(c) for c in <s>[:3]])", "log.append(<s>.encode('ascii'))", "log.append(<s>.encode().decode())", "log.append(<s>.encode().hex())", "log.append(int(<s>, 36))", "log.append(float(<s>))", "log.append(<s>[<n>])", "log.append('%s|%5d|%-6s|%+.2f|%x' % (<any>, <i>, <s>, <f>, abs(<i>)))", "log.append('%(a)s %(b)r' % <d>)", "log.append('%d' % <s>)", "log.append('%s' % <t>)", "log.append('%c%%' % 65)", "log.append('%*d' % (<n>, <i>))", "log.append('{0}{1!r:>8}{0}'.format(<i>, <s>))", "log.append('{a}-{b[0]}'.format(a=<i>, b=<l>))", "log.append('{.x}'.format(p0))", "log.append('{}'.format())", "log.append('{:{}}'.format(<i>, <n>))", "log.append('{a:{w}.{p}f}'.format(a=<f>, w=8, p=<n>))", "log.append('{{}}{}'.format(<any>))", "a1, a2 = <i>, <f>; log.append(f'{a1!r:^{8}}|{a2:.{2}e}')", "log.append(f'{i0:>{i1}}')", "log.append(f'{i0=} {s0 = !s} {f0=:.1f}')", "log.append(f'{p0!r:>12}|{p0:abc}')", "a1, a2, a3 = <l>, <d>, <t>; log.append(f'{a1}{a2}{a3}')", "log.append(f'{{}}{i0:+}' f'{s0!a}' 'x')", "log.append(''.join(reversed(<s>)))", "log.append(<s>.title().swapcase())", "log.append('a' 'b' * 2 + <s>)", "log.append(<s> + <i>)", "log.append(str(<s>.encode(), 'utf-8'))", "log.append('ß'.upper() + 'İ'.lower()[:1] + 'ﬁ'.casefold())", "log.append('x'.join(f'{v:02}' for v in <l>[:3]))", "log.append(<s>.removesuffix('world'))", "log.append(', '.join(f'{k}={v}' for k, v in <d>.items()))",
    ),
    "formats": (
        "a1 = <i>; log.append(f'{a1:<format>}')", "a1 = <f>; log.append(f'{a1:<format>}')", "a1 = <s>; log.append(f'{a1:<format>}')", "a1 = <b>; log.append(f'{a1:<format>}')", "log.append(format(<i>, '<format>'))", "log.append(format(<f>, '<format>'))", "log.append('{:<format>}'.format(<any>))", "log.append('{0:<format>}|{0!r:<format>}'.format(<s>))", "log.append(format(<f> * 1e10, '<format>'))", "log.append(format(<i> * 123457, '<format>'))", "log.append(format(<f> / 1e7, '<format>'))", "log.append(format(<t>, '<format>'))", "log.append(f'{Level.HIGH.value:<format>}')", "log.append((str(<f> * 1e16), repr(<f> / 3), str(1e22), repr(1e-5)))", "log.append(f'{complex(<n>, <n>):.2f}')", "log.append(f'{None!s:<format>}')",
    ),
    "numbers": (
        "log.append((<i> // <n>, <i> % <n>))", "log.append(divmod(<f>, <n>))", "log.append(<i> ** <n>)", "log.append(pow(<i>, <n>, 7))", "log.append(round(<f>, <n>))", "log.append(round(<i>, <n>))", "log.append(round(<n> + 0.5))", "log.append(int(<f>))", "log.append(int('-0x1f', 16))", "log.append(int(<s>))", "log.append(int('1_000'))", "log.append(<i> << <n>)", "log.append(<i> >> <n>)", "log.append(~<i> & 255)", "log.append((<i>).bit_length())", "log.append((<f>).is_integer())", "log.append((<f>).as_integer_ratio())", "log.append((<f>).hex())", "log.append(float.fromhex('0x1.8p1'))", "log.append(abs(<i>).to_bytes(4, 'big'))", "log.append(int.from_bytes(<s>.encode()[:2], 'little'))", "log.append(complex(<i>, <n>) * 1j)", "log.append(abs(complex(3, <n>)))", "log.append(complex(<f>).conjugate())", "log.append(2 ** 70 // (<n> * 10 ** 9 + 1))", "log.append(hash(<f>) == hash(<i>))", "log.append(<i> == <f> == <b>)", "log.append(<f> // <f>)", "log.append(-<i> % 7)", "log.append(-7 // <n>)", "log.append(math.floor(<f>) + math.ceil(<f>))", "log.append(math.sqrt(<i>))", "log.append(math.gcd(<i>, <n>))", "log.append(math.isclose(<f>, <i>))", "log.append(math.prod(<t>))", "log.append(math.log2(<i>))", "log.append(math.trunc(<f>))", "log.append(math.isqrt(<i>))", "log.append(math.inf > <f>)", "log.append(sum(<l>, <f>))", "log.append(sum([[<n>], <l>[:1]], []))", "log.append(True + <i> * False)", "log.append(isinstance(<b>, int) is True)", "log.append(bool(<f>) or <i>)", "log.append(0.1 + 0.2 - <f>)", "log.append(<f> % <f>)", "log.append(min(<f>, <i>, <n>))", "log.append(float('nan') in [<f>])", "log.append(1 if <f> else 2)", "log.append((<n>).real + (<f>).imag)", "log.append(int(True) + int('  7 '))", "log.append(float(' 1e2 '))", "log.append(oct(<i>) + bin(<i>) + hex(<i>))", "log.append(<n> < <f> < <i>)",
    ),
    "iterators": (
        "log.append(list(zip(<l>, <w>, strict=True)))", "log.append(list(zip(*[iter(<l>)] * 2)))", "log.append(list(iter(lambda: l0.pop(), <n>)))", "it = iter(<s>); log.append([next(it, None), *it])", "it = iter(<l>); log.append(list(zip(it, it)))", "it = iter(l0); l0.append(<i>); log.append(list(it)[:6])", "log.append(list(map(max, <l>, <t>)))", "log.append(list(map(operator.add, <l>, <t>)))", "log.append(list(filter(lambda v: v % 2, <l>)))", "log.append(list(itertools.starmap(pow, [(2, <n>), (<i>, 2)])))", "log.append(list(itertools.dropwhile(lambda v: v > <n>, <l>)))", "log.append(list(itertools.compress(<w>, <l>)))", "log.append(list(itertools.combinations(<l>[:4], 2)))", "log.append(list(itertools.permutations(<t>[:3], 2))[:4])", "log.append(list(itertools.repeat(<i>, <n>)))", "log.append(list(itertools.islice(itertools.cycle(<l>), 5)))", "log.append(list(itertools.pairwise(<l>)))", "it, x1 = itertools.tee(<l>); log.append((next(it), list(x1)))", "log.append(list(itertools.chain.from_iterable([<l>[:2], <t>])))", "log.append(list(itertools.accumulate(<l>, lambda a, b: a * b % 97, initial=<n>)))", "log.append(list(itertools.filterfalse(None, <l>)))", "x1 = reversed(<l>); log.append((next(x1), list(x1)))", "x1 = enumerate(<s>); log.append(next(x1)); log.append(dict(x1))", "log.append(tuple(range(<n>, <n>, <n>)))", "log.append(<n> in range(<n>, 9, 2))", "log.append(range(<n>, 9).index(<n>))", "log.append((len(range(<n>, <i>)), range(3) == range(0, 3, 1)))", "x1 = map(note, <l>[:3]); log.append('lazy'); log.append(list(x1))", "x1 = (note(v) for v in <l>[:3]); log.append(next(x1)); log.append(sum(x1))", "a1, *a2, a3 = <l>", "a1, (a2, a3) = <i>, <l>", "a1 = a2, *a3 = <l>", "[a1, a2] = <s>", "(a1, a2), a3 = <t>[:2], <i>", "for a1, *a2 in zip(<l>, <w>, <t>):\n    log.append(a2)", "for l0[<n>] in <t>:\n    pass", "for p0.x in <l>[:3]:\n    log.append(p0.double)", "a1 = [*it]", "log.append(min(it, default=None))", "log.append(sorted(it))", "log.append(sum(v for v in it if isinstance(v, int)))", "log.append(list(range(<n>))[<n>:])", "log.append(list(enumerate(<d>)))",
    ),
    "leaving by finally": (
        "def n0():\n    try:\n        return note(<i>)\n    finally:\n        log.append('finally')\nlog.append(n0())", "def n0():\n    try:\n        return <i> // <n>\n    except ZeroDivisionError:\n        return 'zero'\n    else:\n        return 'else'\n    finally:\n        log.append('end')\nlog.append(n0())", "def n0():\n    try:\n        raise ValueError(<i>)\n    finally:\n        return <n>\nlog.append(n0())", "def n0():\n    for i in range(4):\n        try:\n            if i == <n>:\n                continue\n            if i == 2:\n                break\n            log.append(i)\n        finally:\n            log.append(('f', i))\n    else:\n        return 'else'\n    return i\nlog.append(n0())", "def n0():\n    while True:\n        try:\n            return <n>\n        finally:\n            break\n    return 'after'\nlog.append(n0())", "def n0():\n    x = [<i>]\n    try:\n        return x\n    finally:\n        x.append(<n>)\nlog.append(n0())", "def n0():\n    x = <i>\n    try:\n        return x\n    finally:\n        x = <n>\nlog.append(n0())", "def n0():\n    try:\n        try:\n            <l>[<n>]\n        finally:\n            {}[<k>]\n    except LookupError as e:\n        return (type(e).__name__, type(e.__context__).__name__)\nlog.append(n0())", "for i1 in range(3):\n    with Context(ValueError):\n        if i1 == 1:\n            continue\n        log.append(i1)", "def n0():\n    with Context(KeyError), managed(1):\n        return note(<i>)\nlog.append(n0())", "def n0():\n    with managed(1, True):\n        1 // <n>\n        return 'whole'\n    return 'swallowed'\nlog.append(n0())", "try:\n    raise KeyError(<k>)\nexcept KeyError as e:\n    x1 = e\nlog.append((x1.args, str(x1)))", "try:\n    raise Own(<i>)\nexcept (KeyError, Own) as e:\n    log.append((e.code, e.args))\n", "try:\n    try:\n        1 // 0\n    except ZeroDivisionError as e:\n        raise ValueError('v') from e\nexcept ValueError as e:\n    log.append((str(e), type(e.__cause__).__name__, e.__suppress_context__))", "try:\n    assert <b>, note(<s>)\nexcept AssertionError as e:\n    log.append(e.args)", "def n0():\n    try:\n        yield 1\n    finally:\n        log.append('closed')\nfor x in n0():\n    if <b>:\n        break\nlog.append('behind')", "def n0():\n    try:\n        yield 1\n        yield 2\n    finally:\n        log.append('closed')\nfor x in n0():\n    log.append(<i> // <n>)",
    ),
    "library types": (
        "a1 = Pair(<i>, <n>); log.append((repr(a1), a1.sum))", "log.append(Pair(<i>) < Pair(<n>, <i>))", "log.append(Pair(left=<i>) == Pair(<n>))", "log.append(dataclasses.asdict(Pair(<i>, rest=<l>)))", "log.append(dataclasses.astuple(Pair(<i>)))", "log.append(dataclasses.replace(Pair(<i>), left=<n>).sum)", "log.append([f.name for f in dataclasses.fields(Pair)])", "log.append(Pair())", "log.append(Pair(1, 2, [], 4))", "a1 = Pair(<i>); a1.left = <n>; log.append(a1)", "log.append(hash(Pair(1)))",
        "log.append((Colour.RED.name, Colour(<n>).name))", "log.append(Colour['GREEN'].value)", "log.append([c.name for c in Colour])", "log.append(Colour.CRIMSON is Colour.RED)", "log.append(list(Colour.__members__))", "log.append(Colour.RED.next.name)", "log.append(Colour.RED == 1)", "log.append(Level.LOW < Level.HIGH)", "log.append(Level.HIGH + <n>)", "log.append(Colour.RED < Colour.GREEN)", "log.append(str(Colour.RED) + repr(Colour.GREEN))", "log.append({Colour.RED: <i>}[Colour(1)])", "log.append(Level(3) == 3 and Level.LOW in Level)", "Colour.RED = 3", "log.append(isinstance(Level.LOW, int))", "try:\n    log.append(Colour.BLUE)\nexcept AttributeError:\n    log.append('no member')", "log.append(Level.LOW.real)",
        "log.append(Triple(<i>, <n>))", "log.append(Triple(1, 2)._replace(one=<i>))", "log.append(Triple(<i>, 2)._asdict())", "a1, a2, a3 = Triple(<i>, <n>); log.append(a3)", "log.append(Triple(1, <n>).two + Triple(1, 2)[0])", "log.append(Triple(<i>, 2) == (<i>, 2, 9))", "log.append(Triple._fields)", "log.append(Triple(1))",
        "a1 = collections.OrderedDict(<d>); a1.move_to_end('a'); log.append(list(a1))", "a1 = collections.defaultdict(list); a1[<k>].append(<i>); log.append(dict(a1))", "a1 = collections.defaultdict(int)\nfor k in <s>:\n    a1[k] += 1\nlog.append(sorted(a1.items()))", "a1 = types.SimpleNamespace(a=<i>, **<d>); a1.z = <n>; log.append((a1.z, sorted(vars(a1))))", "log.append(types.SimpleNamespace(a=<i>) == types.SimpleNamespace(a=<n>))",
        "log.append(operator.itemgetter(0, -1)(<l>))", "log.append(operator.methodcaller('upper')(<s>))", "log.append(operator.mul(<i>, <n>))", "log.append(operator.getitem(<l>, <n>))", "log.append(functools.partial(pow, <n>)(2))", "log.append(functools.reduce(operator.or_, [<e>, <e>]) == <e>)", "log.append(Ring(<i>).qx)", "log.append(Ring(<i>).other)", "log.append(hasattr(Ring(1), 'q') and not hasattr(Ring(1), 'z'))", "log.append(getattr(Ring(<i>), 'none', <n>))",
        "match Ring(<i>, <n>):\n    case Ring(0 | 1, x1):\n        log.append(x1)\n    case Ring(first=x1, second=int(x2)) if x1 > x2:\n        log.append((x1, x2))\n    case Ring():\n        log.append('ring')", "match Pair(<i>, <n>):\n    case Pair(left=0):\n        log.append(0)\n    case Pair(x1, x2):\n        log.append((x1, x2))", "match Colour(abs(<n>)):\n    case Colour.RED:\n        log.append('red')\n    case x1:\n        log.append(x1.name)", "match <d>:\n    case {'a': int(x1), **rest}:\n        log.append((x1, rest))\n    case {}:\n        log.append('any')", "match <l>:\n    case [x1, *_, x2] if x1 != x2:\n        log.append((x1, x2))\n    case [_] | []:\n        log.append('short')\n    case _:\n        log.append('same')", "match (<any>, <any>):\n    case (int() | float() as x1, str() as x2):\n        log.append((x1, x2))\n    case (x1, _):\n        log.append(type(x1).__name__)", "match Triple(<i>, <n>):\n    case (x1, x2, 9):\n        log.append(x1)", "match <s>:\n    case 'abc' | '':\n        log.append('literal')\n    case str(x1) if x1.startswith('H'):\n        log.append(x1)",
    ),
    "classes": (
        "p0.__class__ = Child", "log.append(p0.__class__.__name__)", "log.append(type(p0) is Point)", "log.append([c.__name__ for c in Child.__mro__])", "log.append(Child.make(<i>).y)", "log.append(getattr(p0, 'x'))", "log.append(getattr(p1, 'none', <n>))", "setattr(p0, 'x', <i>)", "delattr(p0, 'y')", "log.append(sorted(vars(p0)))", "log.append(p0.__dict__.get('x'))", "p0.__dict__['x'] = <i>; log.append(p0.x)", "log.append(Point.double.fget(p0))", "log.append(Point.__init__.__name__)", "log.append(p0.make(<n>).x)", "x1 = p0.__neg__; log.append(x1().x)", "p0.twice = lambda v: v; log.append(p0.twice(<i>))", "Point.extra = lambda self, v: self.x + v; log.append(p1.extra(<n>))", "Point.count = <n>; log.append(p0.count)", "p0.count += 1; log.append((p0.count, Point.count))", "log.append(issubclass(Child, (int, Point)))", "log.append(isinstance(p1, Child))", "log.append(super(Child, p1).__len__())", "log.append(p0 in [p0, p1])", "log.append([p0, p1].index(p1))", "log.append(p0 != p1)", "log.append(p0 > p1)", "log.append(p0 >= p1)", "log.append({p0: 1}.get(Point(p0.x, p0.y)))", "log.append(p0 * 2)", "log.append(2 + p0)", "log.append(sum([p0], <n>))", "log.append(p0[<n>:])", "log.append(list(zip(p0, <l>)))", "log.append(max(p0))", "log.append(p0 and p1 and <i>)", "log.append(not p0)", "log.append(len(p0) + bool(p0))", "log.append(hash(p0) == hash(Point(p0.x, p0.y)))", "log.append(str(p0) + repr([p0]))", "log.append(f'{p0}')", "log.append(callable(p0))", "log.append(p0.none)", "log.append(Point.none)", "log.append(Point())", "log.append(Point(1, 2, 3))", "log.append(Point(x=<i>).x)", "log.append((p0 := Point(<i>)).double)", "log.append(p0.__doc__)", "p0.double = 'a'", "del p0.double", "log.append(p0 is p0)", "p0 = None", "p1 = [<i>]",
    ),
}  # fmt: skip
"""Statements by the chapter of the language that they are about."""
