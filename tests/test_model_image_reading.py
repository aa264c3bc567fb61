"""Reading images: those of older versions, and how much memory it takes."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_kit import assert_equal, fp32_layer, integer_image

from dpnet.model.image import Image, ImageLayer, parse_image, read_image
from dpnet.model.image.packing import Indices, Packed

INTEGER_0_1_0 = (
    "c-oCsO{g1H6uwk_i&yGTX+fyabkK*`A>QAaI}uu_s02mZg+-dg^v-0$8=PcfGD9to^i{D|S1R@iE<|wk78VzE;e+Z*"
    "trlrf5S6+R|BB#7x{x9`p1Cuaq@DL_Hh0eX&iT$c-@S(n=8*m^8SQq@k5xy-s@*nfOGanV_hX}GEHw?~MoHW>Y8Chn"
    "gOUDh5VJz7!mRX@Fl?EXrg3C3%7CVEC~7tnjD5Fhj5ELu;&wFb_`@6ygE$WTrjbG2XxLMlk7Q=hA0%-b;zyawnYc!t"
    "%2H|-TqRUw{!ktDhdQhQU3pQM^!k%5Z|E^vbd0NRpftp!v>if-qhoN@@5jTy*AT(nmW&HW7SMBps1LYK<AM=K2yW$A"
    "(C-9Zo+d3Rn6Nm{kzNwU!5|FsQJLVxV#MYmM@Nf6R})f)b1tA4N9*%U=F<#))$?<ay1_8hIdeu+k`UeA&<~T$>Z)+$"
    "Ye#fM!**tj7S%wrG{AIPP-0df`&xm>L?FRzMx@R4ZIEe!gu|JGDPsjPr4J!Cqc($x9GlVyCKZmbFtKxJRv;>XkxR^-"
    "9Q{uqMmctbB(^;fh|LNVsxo~j-B2Gks}GoVYuqYGu6bt|lOmc5E3e5r#J9062~`YBhggnuI?97*<-54!dY<Yy3RA*4"
    "RUU+SSXdTw33qwd10U=IY(()O^^V0y2R`gr-QtFsH)hltcFQ#M9!A~n$d4hiflXn-O%_+Rek!{@RamCPEnRk^{tN@7"
    "8yA<@Bv|I<ix;teJ~K;tfOHd7$tnI%7iAo<WF%Jsm$pHy=`l=RLIGM(LJNxG1#iG{Jp*K$lonTUV}_D3Alsy@=%Lt@"
    "X@V!^R6emv2pF`$Wlo?sX5I9%0k|}&5cvQ%DqmJz2$NbQ&)>Lu+3*&DY<LIbWV}#chX0)l2j}iwf>T{Ny?j5MS3X;Q"
    "aRJV6k8j?C;r!t2q1S#+)AYwZ@2|WIXZOIv%XRP{_<sK*AAx;--$Uv!*wRIaokHl$hX_6U9YW)m5ZVDi_yqViolfsb"
    "PN4b=pQmrkt)}x|pF_#6lPP*UPH$Q5A$RLubniC^J+=*@e{MzShh4ijAH3~wgw9>s|MBiK$AA0fSmW}Rw_d*Z;Q89x"
    "Q-8g8>CLOn)e~>eubf)@a^Y|BNA2?7lTSbY)jOZ0+t5wu4)jyH1?@y%q!-dZ)2pwZee~GYyEgGpU;lM&<#(}TXI0+("
    "fKi{n{gr*_zU_Da3*skH2L"
)
FP32_0_1_0 = (
    "c-obdU2GIp6vu1QK+#B$h#Cw@y{VvKsQ2FaUdv4J1Entn5Hxg`&Fst_Si9X>c4tf4vV_=TH4R`&j0&ZxA*L8gqLu~_"
    "I=4`14G&ESON`=!d?esU2v2A%M(@lT*lkOIc{}Hx|Ns2%nR5@8mjz!dh(;TUYgmSBM57?o3anI;xF7^t!@!6+SvL$q"
    "m906hG7MsIH|nG<lJ-+!kchi(f`oy8WIO3bBPd0F7*D3MZj{w${FHJxl`#!p!pf?lpG_FeBpnphvwo(N$TlW}Q1nmD"
    "w8`V3e;B}O)3Hd*aT@#tRv@oH8A?GNtd1wGxJd#fLQs$e5hF2xZny)LG#W{P+$cahlNr+_k@W-HNMuNmaJB@eydPvX"
    "8L7aao`qtBxtAhKlaWygvVa5us|cw<D^!9kBSjLSC`xyc`BG%lNj5z!H7=!QAv0y8z*E@;I2j(7z$1hq8>xb1zYZ6}"
    "`<L?nhEN2Lq*D5phea1k(OD?KNG|ff$#k2<im@ma+Qo=vshCJoj5k%ow%N=Ti>S60vlP>Wrl9hQ%9}z=!2-{wu3$-("
    "1VvI+o5(7%!ypH8T+zw}@4{_P5%w;Y^B8aiHV|T~fFc|SUXNqj8RBMG5^~6&anS<Y+W>R?R0G7alJ9^Yz(L@UG}VHa"
    "IIIQ~cV0)a#agA9VXB;InO-Q|;(mI5I=#U3a^Vj5(<^W~1DWGxW{|7&zwwrC`r=O&!#j4i58eDBp^p##>~%l!d@Wq?"
    "+evQmuiCsB^Yw<>m*|x*-l9!I>uEYOsL!2Y(%7=AbVdBAw<Pr4$*#{%({}GR)o5N{2EYGSUb%kA=pUu0kFN1H>;?2-"
    "=NSEc&bY=M_{KZ&_XhpUQkkY6JEy-gG3JepKJGnIJzG0(Cbay(Ogdui*127KbR}L!KfK(dmA|}GU%KWRwKflE6Ps?-"
    "bZq%j+i#6~mlpKXj<$VT%Z)7EyKtNK=8;u;&&EfGyC$BYRqM{sW9mmWtDB%#{`JDz&uhE&f8KlDJN`=_o%cyMz1};h"
    "t=L+nuR3*^ChL^p_CLGmuF+=NQ*q4u@zb07zn3C<!;u|&`l$=ry1GuStgN@r;`R*0YhGA9tF!#wna7{2xGidZy|+%~"
    ";fdG2BAv@$y;Zdc{}CDKIG37#c;m<YXESo&`v=+%jm-MsukCHSubzLS`JIbb@=M-+dUbvNaMzR1Ui=RQpc{V"
)
"""Files that dpnet 0.1.0 wrote, compressed, of the images that the tests below make again."""


def fp32_image() -> Image:
    rng = np.random.default_rng(5)
    shapes = {"a": ((3, 5), 1), "conv": ((2, 3, 1, 2), 3), "z": ((4, 40), 16)}
    return Image(layers=tuple(fp32_layer(rng, name, *made) for name, made in shapes.items()))


@pytest.mark.parametrize(
    "text, image", [(INTEGER_0_1_0, integer_image()), (FP32_0_1_0, fp32_image())]
)
def test_files_of_older_versions(tmp_path: Path, text: str, image: Image) -> None:
    data = zlib.decompress(base64.b85decode(text))
    assert_equal(parse_image(data), image)
    image.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == data


def test_indices_stay_packed_until_they_are_used(tmp_path: Path) -> None:
    fp32_image().save(tmp_path / "net")
    layer = read_image(tmp_path / "net").layers[1]
    assert isinstance(Indices.given(layer), Packed)
    assert (layer.rows, layer.columns, layer.weights) == (2, 6, 12)
    assert isinstance(Indices.given(layer), Packed)
    assert layer.indices is layer.indices and layer.indices.dtype == np.uint8


def wide(k: int, side: int = 3000) -> Image:
    """Nearly all of the file are indices: 8 weights in a byte of it for K = 2."""
    layer = ImageLayer(
        name="wide",
        shape=(side, side),
        k=k,
        indices=np.random.default_rng(k).integers(0, k, (side, side), dtype=np.uint8),
        codebook=np.zeros((side, k), np.float32),
    )
    return Image(layers=(layer,))


def narrow(k: int) -> Image:
    """Nearly all of the file are parameters of rows, which are wider in memory."""
    rows = 1 << 16
    layer = ImageLayer(
        name="narrow",
        shape=(rows, 1),
        k=k,
        indices=np.zeros((rows, 1), np.uint8),
        entries=np.ones((rows, k), np.int64),
        exponent=np.zeros(rows, np.int64),
        bias=np.zeros(rows, np.int64),
        multiplier=np.zeros(rows, np.int64),
        shift=np.zeros(rows, np.int64),
    )
    return Image(layers=(layer,))


@pytest.mark.parametrize("image", [wide(2), wide(3), wide(16), narrow(1), narrow(16)])
def test_reading_takes_at_most_four_times_the_size_of_the_file(
    tmp_path: Path, image: Image
) -> None:
    size = image.save(tmp_path / "net")
    assert size > 800_000
    read_image(tmp_path / "net")  # what is loaded once for all
    tracemalloc.start()
    again = read_image(tmp_path / "net")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * size + 50_000  # and the header, as Python has it
    assert_equal(again, image)
