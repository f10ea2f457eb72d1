"""The words that a marker is made of: short, known, hard to mix up. About 16 bits for the two together, which an agent
would have to guess at the first try, since the operator sees a wrong one."""

from __future__ import annotations

FIRST = """
amber ancient arctic ashen autumn azure balmy basalt beige blazing blond blue bold brass bright brisk bronze brown burnt
busy calm candid canny carmine cedar chalky cheery chilly coastal cobalt copper coral cosmic cosy cotton crimson crisp
curious cyan dainty dapper daring dawn deep dewy distant drowsy dusky dusty eager early earthy ebony electric elegant
emerald epic even fabled fair fancy fern fierce fiery flint fluffy foggy fond frank fresh frosty fuzzy gallant gentle giant
gilded ginger glad glassy golden grand granite grassy gray green happy hardy hasty hazel hazy hearty hidden hollow honest
humble icy indigo iron ivory jade jolly jovial keen kind lacy laurel lavender lazy leafy lemon light lilac lime lively lofty
lone loyal lucid lucky lunar magenta mango maple marble maroon mauve mellow merry mild minty misty modest molten mossy muddy
murky narrow navy neat nimble noble northern nutty oaken ochre olive opal orange orchid pale pastel patient peach pearly
pebbly peppery pewter pink placid plain plum polar polite proud purple quaint quick quiet rainy rapid rare red regal ripe
robust rocky rosy royal ruby rugged russet rustic rusty sable saffron sage salty sandy sapphire scarlet secret serene shady
shiny silent silken silver simple sleepy slender slim smoky smooth snowy snug sober soft solar solemn solid southern spare
spicy spry stark starry steady steel still stony stormy stout striped sturdy subtle sunny supple swift tall tame tangy tawny
teal tender thorny tidal tidy tiny topaz tranquil trusty turquoise twilight umber upbeat valiant vast velvet verdant vernal
violet vivid warm wary wavy western whimsical white wild willing windy winter wise witty wooden woolly young zesty
""".split()  # noqa: SIM905
SECOND = """
acorn adder agate albatross alder almond alpaca anchor antelope anvil apple apricot aspen aster badger bamboo barley beacon
beagle bear beaver beech beetle bell birch bison blossom boar bobcat bonfire boulder breeze bridge brook buffalo bumblebee
bunting buttercup butterfly cactus camel canary candle canoe canyon caribou carp castle cat catfish cello chamois cheetah
cherry chestnut chipmunk cicada clarinet cliff cloud clover cobra cockatoo comet compass condor coot cormorant cougar cove
coyote crab crane cricket crocus crow cuckoo curlew cypress daisy dale dandelion deer delta dolphin donkey dormouse dove
dragonfly drum duck dune eagle egret elder elk elm ember ermine falcon fawn feather fennel ferret fiddle fig finch fir
firefly fjord flamingo forest fox foxglove frog garnet gazelle gecko geyser gibbon giraffe glacier goat goldfinch goose
gopher gorse grape grouse guitar gull hamster harbor hare harp hawk hawthorn heather hedgehog heron hickory hill hornbill
horse hummingbird hyacinth hyena ibex ibis iguana impala iris island ivy jackal jackdaw jaguar jasmine jay juniper kestrel
kettle kingfisher kite kiwi koala lagoon lake lantern larch lark lemming lemur leopard lily lion lizard llama lobster lotus
lynx macaw mackerel magnolia magpie mallard mammoth manatee mantis marigold marlin marmot marten meadow meerkat merlin mole
mongoose moon moose moth mountain mouse mulberry narwhal nettle newt nightingale nutmeg oak ocelot octopus orca oriole
osprey ostrich otter owl ox oyster panda panther parrot partridge pelican penguin peony perch pheasant piano pigeon pine
plover poplar poppy porcupine porpoise prairie puffin puma quail quartz quince rabbit raccoon raven reef reindeer river
robin rook rose rowan salamander salmon sandpiper sardine scorpion seal sequoia shark sheep shrew skunk skylark sloth snail
snipe sparrow spider spruce squid squirrel stag starfish starling stoat stork stream sturgeon sunflower swallow swan
sycamore tamarin tapir tern thistle thrush thunder tiger toad tortoise toucan trout trumpet tulip tundra turtle valley viola
viper vole vulture wallaby walnut walrus warbler waterfall weasel whale willow wolf wombat woodpecker wren yak yew zebra
""".split()  # noqa: SIM905
