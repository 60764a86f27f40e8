"""quick: fit a photo through stages 1+2 with vertex and score on James"""
import sys,time
from pathlib import Path
import torch
from benchmarks.fidelity import *
from benchmarks.scoring.scans import scanned_views,true_face
from nextface.runs.engine import reconstruct_shared, reconstruct_with
import os
def go(tag, over, which=('left','right'), together=True, root='/tmp/work/q'):
    out=Path(root)/tag
    with equipped(Config().with_overrides(["renderer=vertex","iterStep3=0","rtSamples=1",*over],"--config")) as eq:
        views=[v for v in scanned_views(Path('/work/shared/truth')) if v.name in which]
        def sc(face,st): 
            s=score_geometry(face,st,st.model.landmarks(DETECTOR)); return f"{s.median:.2f}/{asdict(s).get('near',asdict(s).get('inner',0)):.2f}" if 0 else asdict(s)
        tog=reconstruct_shared([v.photo for v in views], out/'t', eq.config, model=eq.model) if together and len(views)>1 else None
        for n,v in enumerate(views):
            face=true_face(v); al=reconstruct_with(eq,v.photo,out/v.name,Silent(),time.monotonic()); rows=stages(al)
            show=lambda s: ' '.join(f'{k}={x:.3g}' for k,x in asdict(score_geometry(face,s,s.model.landmarks(DETECTOR))).items() if isinstance(x,float))
            f=rows['stage 2'] if 'stage 2' in rows else rows['stage 3']
            print(tag,v.name,'MEAN',show(rows[MEAN_FACE])); print(tag,v.name,'S1  ',show(rows['stage 1'])); print(tag,v.name,'S2  ',show(f),'focal',f.parameters.log_focal.exp().tolist() if hasattr(f.parameters,'log_focal') else '',flush=True)
            if tog is not None: print(tag,v.name,'TOG ',show(stages(tog)['stage 3'][n]),flush=True)
if __name__=='__main__': go(sys.argv[1],[a for a in sys.argv[2:] if '=' in a], tuple(a for a in sys.argv[2:] if '=' not in a) or ('left','right'))
