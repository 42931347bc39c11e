"""A thousand English words that are frequent in documentation of software, by the alphabet."""

from __future__ import annotations

__all__ = ["WORDS"]

_TEXT = """
abc able about above absence accept access accessed accessible act actual actually add added
adding addition additional address affect after against alias all allow allowed allows along
already also always and annotations anonymous another any anyone anything appear append applicable
application applications applied applies apply appropriate arbitrary are arg args argument
arguments arithmetic around array assign assigned assignment associated attach attached attempt
attempted attribute attributes author authors available avoid away back backslash bad bar base
based because become been before beginning behalf behavior behaviour being below between bin
binary binding bitwise blank block body both bound brace bracket brackets break bug build built
but bytes call callbacks called calling calls can cannot carry case cases caught cause caused
causes certain change changed changes changing char character characters charge check choice
choose claims class classes clear clearly close closing code collection com combination combine
combined comma command commands commercial common comparison compilation compile compiled compiler
complete complex compliance comply computer concerns condition conditions connection consequence
considered constant construct constructor constructs contain contained containing contains
contents context continue contributor control conversion converted convey copied copies copy
copying copyright core correct correctly could count cover covered covers create created creation
current currently custom data date days debugger debugging decide decimal declaration declared def
default defaults define defined defines defining definition definitions delete delimiter depends
deprecated derivative derived described description descriptor designated designed detail details
detected determined development dictionary did differ difference different digit digits direct
directly directory display displays distribute distributed distribution division document
documents does doing done double download due duplicate during dynamic each earlier effect
effective effectively either element elements else empty enable enabled enables enclosing encoding
end ensure entire entry environment equal equivalent error errors escape especially etc eval
evaluate evaluated evaluates even event ever every everyone exact exactly example examples except
exception exceptions excluding exec executable executables execute executed execution exist
existing exists exit expected explicit explicitly express expression expressions extend extension
extensions extent extra facilities facility fail failed fails fall false feature features few
field file filename files final finally find first fit fixed float floating flow follow followed
following follows foo for form format formats formatted formatting found frame free freedom from
front full func function functions further future general generally generated generator generic
get give given gives global gnu got granted grants group guard had handle handled handler handling
happen has hash have header help here hereby hex how however html http https identifier
identifiers ignored illegal image immediately implement implemented implied import important
imported include included includes including independent index indicate indicated indicates
indirectly individual info information input insert inside install installation installed instance
instances instead instructions int integer integers intended interactive interface interfaces
internal interpreted interpreter into invalid invoked issues item items iteration iterator its
itself just keep key keys keyword keywords kind know known language large larger last later latter
law leading least left legal length less level lexical lib libraries library license licensed
licenses like likely limit limitation limited line lines link linked linking list listed lists
literal literals loaded local locale location long longer look lookup loop made mailing main make
makes making manager manner manual many mapping marked match matches matching material maximum may
mean meaning means mechanism medium member memory mentioned message messages method methods might
missing mode modification modified modifier modifies modify modifying module modules more most
much multiple must mutable name named names namespace necessary need needed needs negative neither
nested network never new newer next non nor normal normally not notation note nothing notice now
number numbers numeric object objects obtained occur occurs often old older omitted once one ones
only open opened operand operands operating operation operations operator operators option
optional options order ordinary org original other others otherwise our out outer output outside
over overflow override own owner package packages page pages pair pairs parameter parameters
parentheses part particular parties parts party pass passed passing patents pattern patterns
permanently permission permissions permit permitted physical pieces place placed please plus point
pointer points portion portions position positive possible possibly power precision preferred
prefix present preserve prevent previous primary print printed printf prior probably problem
problems process produce produced produces product program programs property protected protection
provide provided provides public publicly publish published purpose purposes put python raise
raised raises range rather read real really reason reasonable reasonably receive received recent
recognized redistribute refer reference references refers regardless regular related release
released releases remain remaining remains remove removed replace replaced replacement reported
represent represented represents reproduce request require required requirement requirements
requires reserved resolution resolved respect rest restricted restriction restrictions result
resulting results return returned returns reverse reversed right rights rules run running runtime
said same satisfy saved say saying scope script scripts search second section sections see self
semantics sense separate separator sequence sequences server service set sets setting shall share
shared should show shows side sign signature similar simple since single site size slice small
socket software some something sort source space special specific specified specifies specify
split square stack standard start state stated statement statements static status stdin step steps
still stop stored string strings sub subclass subject sublicense subpattern subroutine subroutines
subscription subsequent such suitable suite supplied supply support supported supports sure switch
symbol syntax sys system systems table take taken target targets term terminate terminated
terminates terms test tests text than that the their them themselves then there therefore thereof
these they things think third this those though three through thus time times title together too
tools tracking translate translated translation treated tree tried true try turn two txt type
types typically undefined under underscore unique unless unmodified until use used useful user
users uses using usr usually valid value values variable variables various version versions very
via view violation void want warning warranty was way well were what whatever when where whether
which while whitespace who whole whose will wish with within without word words work works would
write writing written wrong wrote www year yet yields you your zero
"""
WORDS = tuple(_TEXT.split())
